// The loads of tests/bench/applications.py, by franz-go:
//
//	bench transactions BOOTSTRAP TOPIC PRODUCERS SECONDS RECORDS    transactions per second, with so many records in each
//	bench pipe BOOTSTRAP IN OUT RECORDS BATCH                       records per second from topic to topic, exactly once
//	bench members BOOTSTRAP TOPIC GROUP MEMBERS PROTOCOL            seconds until all members have their equal shares
//
// Each prints one number.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.tests/apps/scenario"
)

const (
	recordBytes = 100
	// minutesMax bounds each load.
	minutesMax = 5
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), minutesMax*time.Minute)
	defer cancel()
	loads := map[string]func(context.Context, string, []string) float64{
		"transactions": transactions, "pipe": pipe, "members": members,
	}
	fmt.Printf("%.3f\n", loads[os.Args[1]](ctx, os.Args[2], os.Args[3:]))
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	scenario.Must(err)
	return value
}

func client(bootstrap string, options ...kgo.Opt) *kgo.Client {
	made, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...)
	scenario.Must(err)
	return made
}

func record(topic string) *kgo.Record {
	return &kgo.Record{Topic: topic, Value: make([]byte, recordBytes)}
}

// transactions counts those of several producers, each with one after the other, after a first one each.
func transactions(ctx context.Context, bootstrap string, arguments []string) float64 {
	topic, producers, seconds, records := arguments[0], number(arguments[1]), number(arguments[2]), number(arguments[3])
	var count atomic.Int64
	var ready, done sync.WaitGroup
	begin, end := make(chan struct{}), atomic.Bool{}
	for n := range producers {
		ready.Add(1)
		done.Go(func() {
			producer := client(bootstrap, kgo.TransactionalID(fmt.Sprintf("%s-%d", topic, n)))
			defer producer.Close()
			transact := func() {
				scenario.Must(producer.BeginTransaction())
				for range records {
					producer.Produce(ctx, record(topic), func(_ *kgo.Record, err error) { scenario.Must(err) })
				}
				scenario.Must(producer.Flush(ctx))
				scenario.Must(producer.EndTransaction(ctx, kgo.TryCommit))
			}
			transact()
			ready.Done()
			<-begin
			for !end.Load() {
				transact()
				count.Add(1)
			}
		})
	}
	ready.Wait()
	started := time.Now()
	close(begin)
	time.Sleep(time.Duration(seconds) * time.Second)
	counted, took := count.Load(), time.Since(started).Seconds()
	end.Store(true)
	done.Wait()
	return float64(counted) / took
}

// pipe copies records in transactions of a batch each, which commit the group's offsets. The clock starts with the first
// committed transaction, so that joining the group is not measured.
func pipe(ctx context.Context, bootstrap string, arguments []string) float64 {
	in, out, records, batch := arguments[0], arguments[1], number(arguments[2]), number(arguments[3])
	feed := client(bootstrap)
	for range records {
		feed.Produce(ctx, record(in), func(_ *kgo.Record, err error) { scenario.Must(err) })
	}
	scenario.Must(feed.Flush(ctx))
	feed.Close()
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(out), kgo.ConsumerGroup(out),
		kgo.ConsumeTopics(in), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	scenario.Must(err)
	defer session.Close()
	copied, first, started := 0, 0, time.Time{}
	for copied < records {
		fetches := session.PollRecords(ctx, batch)
		scenario.Must(fetches.Err())
		scenario.Must(session.Begin())
		fetches.EachRecord(func(r *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Topic: out, Value: r.Value}, func(_ *kgo.Record, err error) { scenario.Must(err) })
		})
		committed, err := session.End(ctx, kgo.TryCommit)
		scenario.Must(err)
		if committed {
			copied += fetches.NumRecords()
		}
		if started.IsZero() && committed {
			started, first = time.Now(), copied
		}
	}
	return float64(copied-first) / time.Since(started).Seconds()
}

// members lets all members of a group start at once, and waits until each has as many partitions as any other, none is
// with two of them, and it stays so for a second.
func members(ctx context.Context, bootstrap string, arguments []string) float64 {
	topic, group, count, protocol := arguments[0], arguments[1], number(arguments[2]), arguments[3]
	const partitionsOfEach = 2
	var mutex sync.Mutex
	has, settled := make([]int, count), time.Time{}
	started := time.Now()
	change := func(member, by int) {
		mutex.Lock()
		defer mutex.Unlock()
		has[member] += by
		settled = time.Now()
		for _, each := range has {
			if each != partitionsOfEach {
				settled = time.Time{}
			}
		}
	}
	own := context.Background()
	if protocol == "consumer" {
		own = context.WithValue(own, "opt_in_kafka_next_gen_balancer_beta", true) //nolint:staticcheck // franz-go's own key
	}
	clients := make([]*kgo.Client, count)
	for n := range count {
		note := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
				change(n, sign*len(partitions[topic]))
			}
		}
		clients[n] = client(bootstrap, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.WithContext(own), kgo.OnPartitionsAssigned(note(1)), kgo.OnPartitionsRevoked(note(-1)),
			kgo.OnPartitionsLost(note(-1)))
	}
	for {
		mutex.Lock()
		since := settled
		mutex.Unlock()
		if !since.IsZero() && time.Since(since) > time.Second {
			break
		}
		if ctx.Err() != nil {
			panic(fmt.Sprint("not settled: ", has))
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := settled.Sub(started).Seconds()
	var leaving sync.WaitGroup
	for _, each := range clients {
		leaving.Go(each.Close)
	}
	leaving.Wait()
	return took
}
