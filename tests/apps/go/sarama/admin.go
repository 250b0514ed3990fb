package main

import (
	"errors"

	"github.com/IBM/sarama"

	"moldau.tests/apps/scenario"
)

// code is the error of a code that stands in an answer.
func code(err error, codes ...sarama.KError) error {
	for _, each := range codes {
		if each != sarama.ErrNoError {
			err = errors.Join(err, each)
		}
	}
	return err
}

// admin calls what sarama.ClusterAdmin has, in an order in which each finds what it needs.
func admin(bootstrap string, arguments []string) scenario.Seen {
	topic, group := arguments[0], arguments[1]
	a := administrator(bootstrap)
	calls := &scenario.Calls{}
	note := calls.Note
	retention, segment, threads := "60000", "2097152", "1"

	// Topics, configurations, records.
	note("CreateTopic", a.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}, false))
	note("CreatePartitions", a.CreatePartitions(topic, 3, nil, false))
	_, err := a.ListTopics()
	note("ListTopics", err)
	topics, err := a.DescribeTopics([]string{topic})
	for _, each := range topics {
		err = code(err, each.Err)
	}
	note("DescribeTopics", err)
	_, err = a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	note("DescribeConfig", err)
	_, err = a.DescribeConfigs([]*sarama.ConfigResource{{Type: sarama.BrokerResource, Name: "1"}},
		sarama.DescribeConfigsOptions{IncludeSynonyms: true, IncludeDocumentation: true})
	note("DescribeConfigs", err)
	note("AlterConfig", a.AlterConfig(sarama.TopicResource, topic, map[string]*string{"segment.bytes": &segment}, false))
	note("IncrementalAlterConfig", a.IncrementalAlterConfig(sarama.BrokerResource, "1",
		map[string]sarama.IncrementalAlterConfigsEntry{"log.cleaner.threads": {
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &threads}}, false))
	made := producer(bootstrap, settings())
	for n := range 6 {
		_, _, err := made.SendMessage(message(topic, n%3, "v"))
		scenario.Must(err)
	}
	scenario.Must(made.Close())
	offsets, err := a.ListOffsets(map[string]map[int32]int64{topic: {0: sarama.OffsetNewest, 1: sarama.OffsetOldest}}, nil)
	for _, each := range offsets[topic] {
		if !errors.Is(each.Err, sarama.ErrNoError) {
			err = errors.Join(err, each.Err)
		}
	}
	note("ListOffsets", err)
	note("DeleteRecords", a.DeleteRecords(topic, map[int32]int64{0: 1}))

	// The cluster, its replicas.
	_, _, err = a.DescribeCluster()
	note("DescribeCluster", err)
	_, err = a.Controller()
	note("Controller", err)
	_, err = a.DescribeLogDirs([]int32{1})
	note("DescribeLogDirs", err)
	note("AlterPartitionReassignments", a.AlterPartitionReassignments(topic, [][]int32{{1}, {1}, {1}}))
	_, err = a.ListPartitionReassignments(topic, []int32{0, 1, 2})
	note("ListPartitionReassignments", err)
	elected, err := a.ElectLeaders(sarama.PreferredElection, map[string][]int32{topic: {0}})
	for _, each := range elected[topic] {
		if each.ErrorCode != sarama.ErrElectionNotNeeded {
			err = code(err, each.ErrorCode)
		}
	}
	note("ElectLeaders", err)

	// Groups: one that is empty, and one with a member.
	committed, err := a.AlterConsumerGroupOffsets(group,
		map[string]map[int32]sarama.OffsetAndMetadata{topic: {0: {Offset: 1, LeaderEpoch: -1}, 1: {Offset: 1, LeaderEpoch: -1}}}, nil)
	if committed != nil {
		for _, each := range committed.Errors[topic] {
			err = code(err, each)
		}
	}
	note("AlterConsumerGroupOffsets", err)
	_, err = a.ListConsumerGroups()
	note("ListConsumerGroups", err)
	described, err := a.DescribeConsumerGroups([]string{group})
	for _, each := range described {
		err = code(err, each.Err)
	}
	note("DescribeConsumerGroups", err)
	_, err = a.ListConsumerGroupOffsets(group, nil)
	note("ListConsumerGroupOffsets", err)
	_, err = a.ListConsumerGroupOffsetsBatch(map[string]map[string][]int32{group: {topic: {0, 1}}})
	note("ListConsumerGroupOffsetsBatch", err)
	_, err = a.Coordinator(group)
	note("Coordinator", err)
	left, err := a.RemoveMemberFromConsumerGroup(group, []string{"nobody"})
	if left != nil && len(left.Members) == 1 && left.Members[0].Err != sarama.ErrUnknownMemberId {
		err = code(err, left.Members[0].Err)
	}
	note("RemoveMemberFromConsumerGroup", err)
	note("DeleteConsumerGroupOffset", a.DeleteConsumerGroupOffset(group, topic, 0))
	note("DeleteConsumerGroup", a.DeleteConsumerGroup(group))

	// Quotas and features.
	note("AlterClientQuotas", a.AlterClientQuotas(
		[]sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchExact, Name: topic}},
		sarama.ClientQuotasOp{Key: "consumer_byte_rate", Value: 1e9}, false))
	_, err = a.DescribeClientQuotas(nil, false)
	note("DescribeClientQuotas", err)
	updated, err := a.UpdateFeatures([]sarama.FeatureUpdate{{Feature: "group.version", MaxVersionLevel: 1}})
	for _, each := range updated {
		err = code(err, each.ErrorCode)
	}
	note("UpdateFeatures", err)

	// Security.
	resource := sarama.Resource{
		ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral}
	acl := sarama.Acl{
		Principal: "User:a", Host: "*", Operation: sarama.AclOperationRead, PermissionType: sarama.AclPermissionAllow}
	note("CreateACLs", a.CreateACLs([]*sarama.ResourceAcls{{Resource: resource, Acls: []*sarama.Acl{&acl}}}))
	filter := sarama.AclFilter{ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny,
		Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny}
	_, err = a.ListAcls(filter)
	note("ListAcls", err)
	_, err = a.DeleteACL(filter, false)
	note("DeleteACL", err)
	_, err = a.DescribeUserScramCredentials(nil)
	note("DescribeUserScramCredentials", err)
	changed, err := a.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{{
		Name: "a", Mechanism: sarama.SCRAM_MECHANISM_SHA_256, Iterations: 4096, Salt: []byte("salt"), Password: []byte("b")}})
	for _, each := range changed {
		err = code(err, each.ErrorCode)
	}
	note("UpsertUserScramCredentials", err)

	note("DeleteTopic", a.DeleteTopic(topic))
	scenario.Must(a.Close())
	return calls.Seen
}
