// A small application of franz-go: the scenarios of tests/clients/test_applications.py.
package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.tests/apps/scenario"
)

func main() {
	scenario.Run(map[string]func(string, []string) scenario.Seen{
		"codecs": codecs, "group": group, "transactions": transactions, "pipe": pipe, "admin": admin,
	})
}

func client(bootstrap string, options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, options...)...)
	scenario.Must(err)
	return made
}

func create(bootstrap, topic string, partitions int32) {
	admin := kadm.NewClient(client(bootstrap))
	defer admin.Close()
	_, err := admin.CreateTopic(bounded(), partitions, 1, nil, topic)
	scenario.Must(err)
}

// bounded is the context of one wait.
func bounded() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), scenario.Wait)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func record(topic string, partition int, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: int32(partition), Value: []byte(value)}
}

// read reads partitions from their beginning until `enough` says so of the values so far.
func read(bootstrap, topic string, partitions int, isolation kgo.IsolationLevel, enough func([]string) bool) []string {
	offsets := map[int32]kgo.Offset{}
	for partition := range partitions {
		offsets[int32(partition)] = kgo.NewOffset().AtStart()
	}
	reader := client(bootstrap, kgo.FetchIsolationLevel(isolation),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	defer reader.Close()
	values, ctx := []string{}, bounded()
	for !enough(values) {
		fetches := reader.PollFetches(ctx)
		scenario.Must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func count(n int) func([]string) bool {
	return func(values []string) bool { return len(values) >= n }
}

func codecs(bootstrap string, arguments []string) scenario.Seen {
	topic := arguments[0]
	create(bootstrap, topic, 3)
	all := []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
	}
	names := []string{}
	for _, each := range all {
		names = append(names, each.name)
		producer := client(bootstrap, kgo.ProducerBatchCompression(each.codec))
		records := []*kgo.Record{}
		for n := range scenario.CodecRecords {
			r := record(topic, n%3, scenario.Value(each.name, n))
			r.Key, r.Headers = []byte(strconv.Itoa(n)), []kgo.RecordHeader{{Key: "codec", Value: []byte(each.name)}}
			records = append(records, r)
		}
		scenario.Must(producer.ProduceSync(bounded(), records...).FirstErr())
		producer.Close()
	}
	values := read(bootstrap, topic, 3, kgo.ReadUncommitted(), count(len(all)*scenario.CodecRecords))
	return scenario.Seen{"codecs": names, "read": values}
}

// member is a consumer of a group that commits what it has read after every poll.
type member struct {
	client *kgo.Client
	has    atomic.Int32
	cancel context.CancelFunc
	ended  chan struct{}
}

func join(bootstrap, topic, name string, values *scenario.Values) *member {
	m := &member{ended: make(chan struct{})}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	change := func(sign int32) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.has.Add(sign * int32(len(partitions[topic])))
		}
	}
	m.client = client(bootstrap, kgo.ConsumerGroup(name), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			fetches := m.client.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			scenario.Must(fetches.Err())
			fetches.EachRecord(func(r *kgo.Record) { values.Add(string(r.Value)) })
			scenario.Must(m.client.CommitUncommittedOffsets(bounded()))
			m.client.AllowRebalance()
		}
	}()
	return m
}

func (m *member) leave() {
	m.cancel()
	<-m.ended
	m.client.CloseAllowingRebalance()
}

func group(bootstrap string, arguments []string) scenario.Seen {
	topic, name := arguments[0], arguments[1]
	create(bootstrap, topic, scenario.GroupPartitions)
	producer, sent, values := client(bootstrap), 0, &scenario.Values{}
	defer producer.Close()
	produce := func() {
		for range scenario.GroupRecords {
			scenario.Must(producer.ProduceSync(bounded(),
				record(topic, sent%scenario.GroupPartitions, strconv.Itoa(sent))).FirstErr())
			sent++
		}
	}
	whole := func() bool { return len(values.All()) >= sent }
	seen := scenario.Seen{}
	produce()
	first := join(bootstrap, topic, name, values)
	scenario.Eventually("all records read", whole)
	seen["alone"] = first.has.Load()
	second := join(bootstrap, topic, name, values)
	scenario.Eventually("two equal shares", func() bool { return first.has.Load() == 2 && second.has.Load() == 2 })
	seen["shared"] = []int32{first.has.Load(), second.has.Load()}
	produce()
	scenario.Eventually("all records read by two", whole)
	second.leave()
	scenario.Eventually("everything with one", func() bool { return first.has.Load() == scenario.GroupPartitions })
	first.leave()
	seen["read"] = values.All()
	produce()
	rest := &scenario.Values{}
	third := join(bootstrap, topic, name, rest)
	scenario.Eventually("the rest read", func() bool { return len(rest.All()) >= scenario.GroupRecords })
	third.leave()
	seen["resumed"] = rest.All()
	return seen
}

func transactions(bootstrap string, arguments []string) scenario.Seen {
	topic, id := arguments[0], arguments[1]
	create(bootstrap, topic, scenario.TransactionPartitions)
	producer := client(bootstrap, kgo.TransactionalID(id))
	defer producer.Close()
	for n := range scenario.Transactions + 1 {
		scenario.Must(producer.BeginTransaction())
		for partition := range scenario.TransactionPartitions {
			scenario.Must(producer.ProduceSync(bounded(),
				record(topic, partition, fmt.Sprintf("%d-%d", n, partition))).FirstErr())
		}
		scenario.Must(producer.EndTransaction(bounded(), n%2 == 0))
	}
	// The last transaction is a committed one: who has read it from all partitions has read all there is before it.
	last := func(values []string) bool {
		found := 0
		for _, value := range values {
			if strings.HasPrefix(value, strconv.Itoa(scenario.Transactions)+"-") {
				found++
			}
		}
		return found == scenario.TransactionPartitions
	}
	return scenario.Seen{
		"committed":   read(bootstrap, topic, scenario.TransactionPartitions, kgo.ReadCommitted(), last),
		"uncommitted": read(bootstrap, topic, scenario.TransactionPartitions, kgo.ReadUncommitted(), last),
	}
}

func pipe(bootstrap string, arguments []string) scenario.Seen {
	in, out, name := arguments[0], arguments[1], arguments[2]
	create(bootstrap, in, scenario.PipePartitions)
	create(bootstrap, out, scenario.PipePartitions)
	producer := client(bootstrap)
	for n := range scenario.PipeRecords {
		scenario.Must(producer.ProduceSync(bounded(), record(in, n%scenario.PipePartitions, strconv.Itoa(n))).FirstErr())
	}
	producer.Close()
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(name),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumerGroup(name), kgo.ConsumeTopics(in),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	scenario.Must(err)
	committed, aborted, turn := 0, 0, 0
	for committed < scenario.PipeRecords {
		fetches := session.PollRecords(bounded(), scenario.PipeBatch)
		scenario.Must(fetches.Err())
		turn++
		scenario.Must(session.Begin())
		fetches.EachRecord(func(r *kgo.Record) {
			scenario.Must(session.ProduceSync(bounded(), record(out, int(r.Partition), string(r.Value))).FirstErr())
		})
		done, err := session.End(bounded(), turn%3 != 0)
		scenario.Must(err)
		if done {
			committed += fetches.NumRecords()
		} else {
			aborted++
		}
	}
	session.Close()
	admin := kadm.NewClient(client(bootstrap))
	defer admin.Close()
	values := read(bootstrap, out, scenario.PipePartitions, kgo.ReadCommitted(), count(scenario.PipeRecords))
	// The last transaction's end is answered before its markers are everywhere, and this asks for no stable offsets.
	sum := int64(0)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		offsets, err := admin.FetchOffsets(bounded(), name)
		scenario.Must(err)
		sum = 0
		offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
		if sum >= int64(len(values)) || time.Now().After(deadline) {
			break
		}
	}
	return scenario.Seen{"offsets": sum, "aborted": aborted, "out": values}
}
