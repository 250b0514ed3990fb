package main

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.tests/apps/scenario"
)

// outcome takes the errors of single entries, which most answers collect, for the call's own.
func outcome[T any](answer T, err error) error {
	if err != nil {
		return err
	}
	if collected, has := any(answer).(interface{ Error() error }); has {
		return collected.Error()
	}
	return nil
}

func of[T any](answers []T, err func(T) error) error {
	all := []error{}
	for _, each := range answers {
		all = append(all, err(each))
	}
	return errors.Join(all...)
}

func pointer(s string) *string { return &s }

// admin calls what kadm has, in an order in which each finds what it needs.
func admin(bootstrap string, arguments []string) scenario.Seen {
	topic, group := arguments[0], arguments[1]
	cl := client(bootstrap, kgo.TransactionalID(topic))
	a := kadm.NewClient(cl)
	defer a.Close()
	ctx, calls := bounded(), &scenario.Calls{}
	note := calls.Note
	set := kadm.TopicsSet{}
	set.Add(topic, 0)

	// Topics, configurations, records.
	_, err := a.ValidateCreateTopics(ctx, 1, 1, nil, topic)
	note("ValidateCreateTopics", err)
	note("CreateTopics", outcome(a.CreateTopics(ctx, 2, 1, map[string]*string{"retention.ms": pointer("60000")}, topic)))
	note("CreatePartitions", outcome(a.CreatePartitions(ctx, 1, topic)))
	note("ListTopics", outcome(a.ListTopics(ctx, topic)))
	note("Metadata", outcome(a.Metadata(ctx, topic)))
	note("ListBrokers", outcome(a.ListBrokers(ctx)))
	note("ApiVersions", outcome(a.ApiVersions(ctx)))
	note("DescribeTopicConfigs", outcome(a.DescribeTopicConfigs(ctx, topic)))
	altered := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: pointer("2097152")}}
	note("AlterTopicConfigs", outcome(a.AlterTopicConfigs(ctx, altered, topic)))
	note("AlterTopicConfigsState", outcome(a.AlterTopicConfigsState(ctx, altered, topic)))
	note("DescribeBrokerConfigs", outcome(a.DescribeBrokerConfigs(ctx)))
	note("AlterBrokerConfigs", outcome(a.AlterBrokerConfigs(ctx,
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.cleaner.threads", Value: pointer("1")}}, 1)))
	note("ListConfigResources", outcome(a.ListConfigResources(ctx)))
	scenario.Must(cl.BeginTransaction())
	for n := range 6 {
		scenario.Must(cl.ProduceSync(ctx, record(topic, n%3, "v")).FirstErr())
	}
	note("ListTransactions", outcome(a.ListTransactions(ctx, nil, nil)))
	note("DescribeTransactions", outcome(a.DescribeTransactions(ctx, topic)))
	note("DescribeProducers", outcome(a.DescribeProducers(ctx, set)))
	scenario.Must(cl.EndTransaction(ctx, kgo.TryCommit))
	note("ListStartOffsets", outcome(a.ListStartOffsets(ctx, topic)))
	note("ListEndOffsets", outcome(a.ListEndOffsets(ctx, topic)))
	note("ListCommittedOffsets", outcome(a.ListCommittedOffsets(ctx, topic)))
	note("ListMaxTimestampOffsets", outcome(a.ListMaxTimestampOffsets(ctx, topic)))
	note("ListLocalLogStartOffsets", outcome(a.ListLocalLogStartOffsets(ctx, topic)))
	note("ListOffsetsAfterMilli", outcome(a.ListOffsetsAfterMilli(ctx, time.Now().Add(-time.Hour).UnixMilli(), topic)))
	epochs := kadm.OffsetForLeaderEpochRequest{}
	epochs.Add(topic, 0, 0)
	note("OffetForLeaderEpoch", outcome(a.OffetForLeaderEpoch(ctx, epochs)))
	records := kadm.Offsets{}
	records.Add(kadm.Offset{Topic: topic, Partition: 0, At: 1, LeaderEpoch: -1})
	note("DeleteRecords", outcome(a.DeleteRecords(ctx, records)))

	// Replicas.
	logDirs, err := a.DescribeAllLogDirs(ctx, nil)
	alter := kadm.AlterReplicaLogDirsReq{}
	for _, dirs := range logDirs {
		err = errors.Join(err, dirs.Error())
		for dir := range dirs {
			alter.Add(dir, set)
		}
	}
	note("DescribeAllLogDirs", err)
	moved, err := a.AlterAllReplicaLogDirs(ctx, alter)
	moved.Each(func(r kadm.AlterReplicaLogDirsResponse) { err = errors.Join(err, r.Err) })
	note("AlterAllReplicaLogDirs", err)
	assign := kadm.AlterPartitionAssignmentsReq{}
	assign.Assign(topic, 0, []int32{1})
	note("AlterPartitionAssignments", outcome(a.AlterPartitionAssignments(ctx, assign)))
	note("ListPartitionReassignments", outcome(a.ListPartitionReassignments(ctx, nil)))
	_, err = a.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
	note("ElectLeaders", err)

	// Groups.
	note("CommitOffsets", outcome(a.CommitOffsets(ctx, group, records)))
	note("FetchOffsets", outcome(a.FetchOffsets(ctx, group)))
	note("ListGroups", outcome(a.ListGroups(ctx)))
	note("DescribeGroups", outcome(a.DescribeGroups(ctx, group)))
	note("Lag", outcome(a.Lag(ctx, group)))
	note("FindGroupCoordinators", outcome(a.FindGroupCoordinators(ctx, group), nil))
	note("FindTxnCoordinators", outcome(a.FindTxnCoordinators(ctx, topic), nil))
	note("DeleteOffsets", outcome(a.DeleteOffsets(ctx, group, set)))
	note("CommitAllOffsets", a.CommitAllOffsets(ctx, group, records))
	note("DeleteGroups", outcome(a.DeleteGroups(ctx, group)))

	// Share groups: one that is empty has its offsets set, told and taken away.
	note("AlterShareGroupOffsets", outcome(a.AlterShareGroupOffsets(ctx, group+"-share", records)))
	note("DescribeShareGroups", outcome(a.DescribeShareGroups(ctx, group+"-share")))
	note("DescribeShareGroupOffsets", outcome(a.DescribeShareGroupOffsets(ctx, group+"-share")))
	note("DeleteShareGroupOffsets", outcome(a.DeleteShareGroupOffsets(ctx, group+"-share", topic)))

	// Quotas and features.
	quota := []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: pointer(topic)}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "consumer_byte_rate", Value: 1e9}},
	}}
	quotas, err := a.AlterClientQuotas(ctx, quota)
	note("AlterClientQuotas", errors.Join(err, of(quotas, func(q kadm.AlteredClientQuota) error { return q.Err })))
	note("DescribeClientQuotas", outcome(a.DescribeClientQuotas(ctx, false, nil)))
	features, err := a.UpdateFeatures(ctx, true, kadm.FeatureUpdate{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1})
	note("UpdateFeatures", outcome(features, err))

	// Security.
	acls := kadm.NewACLs().Allow("User:a").AllowHosts("*").Operations(kadm.OpRead).
		ResourcePatternType(kadm.ACLPatternLiteral).Topics(topic)
	note("CreateACLs", outcome(a.CreateACLs(ctx, acls)))
	all := kadm.NewACLs().AnyResource().ResourcePatternType(kadm.ACLPatternAny).Operations(kadm.OpAny).
		Allow().Deny().AllowHosts().DenyHosts()
	note("DescribeACLs", outcome(a.DescribeACLs(ctx, all)))
	note("DescribeUserSCRAMs", outcome(a.DescribeUserSCRAMs(ctx)))
	_, err = a.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{
		User: "a", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "b"}})
	note("AlterUserSCRAMs", err)
	_, err = a.DescribeDelegationTokens(ctx)
	note("DescribeDelegationTokens", err)

	note("DeleteTopics", outcome(a.DeleteTopics(ctx, topic)))
	return calls.Seen
}
