// A small application of sarama: the scenarios of tests/clients/test_applications.py.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"moldau.tests/apps/scenario"
)

func main() {
	scenario.Run(map[string]func(string, []string) scenario.Seen{
		"codecs": codecs, "group": group, "transactions": transactions, "pipe": pipe, "admin": admin,
	})
}

// settings are sarama's for the newest broker that it knows.
func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Net.MaxOpenRequests = 1
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRoundRobin()}
	return config
}

func administrator(bootstrap string) sarama.ClusterAdmin {
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, settings())
	scenario.Must(err)
	return admin
}

func create(bootstrap, topic string, partitions int32) {
	admin := administrator(bootstrap)
	scenario.Must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
	scenario.Must(admin.Close())
}

func producer(bootstrap string, config *sarama.Config) sarama.SyncProducer {
	made, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	scenario.Must(err)
	return made
}

func message(topic string, partition int, value string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: topic, Partition: int32(partition), Value: sarama.StringEncoder(value)}
}

// read reads partitions from their beginning until `enough` says so of the values so far.
func read(bootstrap, topic string, partitions int, level sarama.IsolationLevel, enough func([]string) bool) []string {
	config := settings()
	config.Consumer.IsolationLevel = level
	reader, err := sarama.NewConsumer([]string{bootstrap}, config)
	scenario.Must(err)
	messages := make(chan *sarama.ConsumerMessage)
	for partition := range partitions {
		one, err := reader.ConsumePartition(topic, int32(partition), sarama.OffsetOldest)
		scenario.Must(err)
		go func() {
			for m := range one.Messages() {
				messages <- m
			}
		}()
	}
	values, deadline := []string{}, time.After(scenario.Wait)
	for !enough(values) {
		select {
		case m := <-messages:
			values = append(values, string(m.Value))
		case <-deadline:
			panic(fmt.Sprintf("only %d values", len(values)))
		}
	}
	return values
}

func count(n int) func([]string) bool {
	return func(values []string) bool { return len(values) >= n }
}

func codecs(bootstrap string, arguments []string) scenario.Seen {
	topic := arguments[0]
	create(bootstrap, topic, 3)
	all := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy,
		sarama.CompressionLZ4, sarama.CompressionZSTD}
	names := []string{}
	for _, codec := range all {
		names = append(names, codec.String())
		config := settings()
		config.Producer.Compression = codec
		made := producer(bootstrap, config)
		messages := []*sarama.ProducerMessage{}
		for n := range scenario.CodecRecords {
			m := message(topic, n%3, scenario.Value(codec.String(), n))
			m.Key = sarama.StringEncoder(strconv.Itoa(n))
			m.Headers = []sarama.RecordHeader{{Key: []byte("codec"), Value: []byte(codec.String())}}
			messages = append(messages, m)
		}
		scenario.Must(made.SendMessages(messages))
		scenario.Must(made.Close())
	}
	values := read(bootstrap, topic, 3, sarama.ReadUncommitted, count(len(all)*scenario.CodecRecords))
	return scenario.Seen{"codecs": names, "read": values}
}

// member is a consumer of a group that commits each record when it has read it.
type member struct {
	topic  string
	group  sarama.ConsumerGroup
	values *scenario.Values
	has    atomic.Int32
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func join(bootstrap, topic, name string, values *scenario.Values) *member {
	group, err := sarama.NewConsumerGroup([]string{bootstrap}, name, settings())
	scenario.Must(err)
	m := &member{topic: topic, group: group, values: values}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.ended.Go(func() {
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{topic}, m); !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				scenario.Must(err)
			}
		}
	})
	return m
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.has.Store(int32(len(session.Claims()[m.topic])))
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.has.Store(0)
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case got, open := <-claim.Messages():
			if !open || session.Context().Err() != nil {
				return nil
			}
			m.values.Add(string(got.Value))
			session.MarkMessage(got, "")
			session.Commit()
		}
	}
}

func (m *member) leave() {
	m.cancel()
	m.ended.Wait()
	scenario.Must(m.group.Close())
}

func group(bootstrap string, arguments []string) scenario.Seen {
	topic, name := arguments[0], arguments[1]
	create(bootstrap, topic, scenario.GroupPartitions)
	made, sent, values := producer(bootstrap, settings()), 0, &scenario.Values{}
	produce := func() {
		for range scenario.GroupRecords {
			_, _, err := made.SendMessage(message(topic, sent%scenario.GroupPartitions, strconv.Itoa(sent)))
			scenario.Must(err)
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

func transactional(bootstrap, id string) sarama.SyncProducer {
	config := settings()
	config.Producer.Transaction.ID = id
	return producer(bootstrap, config)
}

func transactions(bootstrap string, arguments []string) scenario.Seen {
	topic, id := arguments[0], arguments[1]
	create(bootstrap, topic, scenario.TransactionPartitions)
	made := transactional(bootstrap, id)
	for n := range scenario.Transactions + 1 {
		scenario.Must(made.BeginTxn())
		for partition := range scenario.TransactionPartitions {
			_, _, err := made.SendMessage(message(topic, partition, fmt.Sprintf("%d-%d", n, partition)))
			scenario.Must(err)
		}
		if n%2 == 0 {
			scenario.Must(made.CommitTxn())
		} else {
			scenario.Must(made.AbortTxn())
		}
	}
	scenario.Must(made.Close())
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
		"committed":   read(bootstrap, topic, scenario.TransactionPartitions, sarama.ReadCommitted, last),
		"uncommitted": read(bootstrap, topic, scenario.TransactionPartitions, sarama.ReadUncommitted, last),
	}
}

// copier copies records in transactions, which commit the group's offsets, and aborts every third of them. The
// claims of two partitions share one producer, which has one transaction at a time.
type copier struct {
	out, group string
	producer   sarama.SyncProducer
	mutex      sync.Mutex
	turn       int
	aborted    int
	committed  int
}

func (*copier) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*copier) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *copier) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	batch := []*sarama.ConsumerMessage{}
	for {
		select {
		case <-session.Context().Done():
			return nil
		case got, open := <-claim.Messages():
			if !open {
				return nil
			}
			if batch = append(batch, got); len(batch) < scenario.PipeBatch {
				continue
			}
			if !c.copy(batch) {
				// The claim ends with the session, and the next one begins where the aborted transaction did.
				session.ResetOffset(got.Topic, got.Partition, batch[0].Offset, "")
				return nil
			}
			batch = batch[:0]
		}
	}
}

func (c *copier) copy(batch []*sarama.ConsumerMessage) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.turn++
	scenario.Must(c.producer.BeginTxn())
	for _, got := range batch {
		_, _, err := c.producer.SendMessage(message(c.out, int(got.Partition), string(got.Value)))
		scenario.Must(err)
	}
	scenario.Must(c.producer.AddMessageToTxn(batch[len(batch)-1], c.group, nil))
	if c.turn%3 == 0 {
		scenario.Must(c.producer.AbortTxn())
		c.aborted++
		return false
	}
	scenario.Must(c.producer.CommitTxn())
	c.committed += len(batch)
	return true
}

func pipe(bootstrap string, arguments []string) scenario.Seen {
	in, out, name := arguments[0], arguments[1], arguments[2]
	create(bootstrap, in, scenario.PipePartitions)
	create(bootstrap, out, scenario.PipePartitions)
	feed := producer(bootstrap, settings())
	for n := range scenario.PipeRecords {
		_, _, err := feed.SendMessage(message(in, n%scenario.PipePartitions, strconv.Itoa(n)))
		scenario.Must(err)
	}
	scenario.Must(feed.Close())
	config := settings()
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	members, err := sarama.NewConsumerGroup([]string{bootstrap}, name, config)
	scenario.Must(err)
	c := &copier{out: out, group: name, producer: transactional(bootstrap, name)}
	committed := func() int {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		return c.committed
	}
	ctx, cancel := context.WithTimeout(context.Background(), scenario.Wait)
	consuming := sync.WaitGroup{}
	consuming.Go(func() {
		for ctx.Err() == nil && committed() < scenario.PipeRecords {
			scenario.Must(members.Consume(ctx, []string{in}, c))
		}
	})
	scenario.Eventually("all records copied", func() bool { return committed() >= scenario.PipeRecords })
	cancel()
	consuming.Wait()
	scenario.Must(members.Close())
	scenario.Must(c.producer.Close())
	admin := administrator(bootstrap)
	offsets, err := admin.ListConsumerGroupOffsets(name, map[string][]int32{in: {0, 1}})
	scenario.Must(err)
	sum := int64(0)
	for partition := range int32(scenario.PipePartitions) {
		sum += offsets.GetBlock(in, partition).Offset
	}
	scenario.Must(admin.Close())
	values := read(bootstrap, out, scenario.PipePartitions, sarama.ReadCommitted, count(scenario.PipeRecords))
	return scenario.Seen{"offsets": sum, "aborted": c.aborted, "out": values}
}
