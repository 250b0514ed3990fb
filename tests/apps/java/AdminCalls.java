import java.lang.reflect.Method;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Calls every method of Kafka's administrative client that asks the cluster for something: `AdminCalls BOOTSTRAP`. Prints a
 * line `method: ok` or `method: Exception: message` for each call, and `uncovered: method` for each that is not called here.
 */
@SuppressWarnings({"deprecation", "removal"})
public class AdminCalls {
    /** Methods that ask nothing of the cluster. */
    private static final Set<String> LOCAL =
            Set.of("close", "metrics", "registerMetricForSubscription", "unregisterMetricFromSubscription");
    private static final long SECONDS = 30;
    private static final String GROUP = "group", SHARE = "share", STREAMS = "streams", TOPIC = "calls", ID = "producer";

    private final Set<String> called = new TreeSet<>();
    private final Admin admin;
    private final Properties settings;

    private interface Call {
        Object make() throws Exception;
    }

    AdminCalls(String bootstrap) {
        settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("default.api.timeout.ms", 20_000);
        settings.put("request.timeout.ms", 10_000);
        admin = Admin.create(settings);
    }

    public static void main(String[] arguments) throws Exception {
        AdminCalls calls = new AdminCalls(arguments[0]);
        calls.topics();
        calls.replicas();
        calls.groups();
        calls.transactions();
        calls.cluster();
        calls.security();
        calls.ends();
        for (Method method : Admin.class.getMethods()) {
            if (!calls.called.contains(method.getName()) && !LOCAL.contains(method.getName())
                    && !java.lang.reflect.Modifier.isStatic(method.getModifiers())) {
                System.out.println("uncovered: " + method.getName());
            }
        }
        calls.admin.close(Duration.ofSeconds(5));
        System.exit(0);
    }

    /**
     * Makes a call, waits for everything that its result promises, and prints how that ended. What comes after `/` in a name
     * tells calls of one method apart.
     */
    private void call(String name, Call call) {
        called.add(name.split("/")[0]);
        try {
            await(call.make(), 0);
            System.out.println(name + ": ok");
        } catch (Throwable error) {
            Throwable cause = error;
            while ((cause instanceof ExecutionException || cause instanceof java.lang.reflect.InvocationTargetException)
                    && cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.out.println(name + ": " + cause.getClass().getSimpleName() + ": "
                    + String.valueOf(cause.getMessage()).replace('\n', ' '));
        }
    }

    /** Waits for a future, for all of a collection of them, or for those that a result's methods without arguments hand out. */
    private static void await(Object result, int depth) throws Exception {
        if (result instanceof KafkaFuture<?> future) {
            await(future.get(SECONDS, TimeUnit.SECONDS), depth + 1);
        } else if (result instanceof Map<?, ?> map) {
            for (Object value : map.values()) {
                await(value, depth + 1);
            }
        } else if (result instanceof Optional<?> optional && optional.isPresent() && optional.get() instanceof Throwable error) {
            throw new ExecutionException(error);
        } else if (result instanceof Collection<?> collection) {
            for (Object value : collection) {
                await(value, depth + 1);
            }
        } else if (depth == 0 && result != null && result.getClass().getName().startsWith("org.apache.kafka.clients.admin.")) {
            for (Method method : result.getClass().getMethods()) {
                boolean hands = KafkaFuture.class.isAssignableFrom(method.getReturnType())
                        || Map.class.isAssignableFrom(method.getReturnType());
                if (hands && method.getParameterCount() == 0 && !method.isAnnotationPresent(Deprecated.class)) {
                    await(method.invoke(result), depth + 1);
                }
            }
        }
    }

    private static TopicPartition partition(int number) {
        return new TopicPartition(TOPIC, number);
    }

    /** The id of a topic that was just made: a broker may not know of it yet. */
    private Uuid id(String topic) throws Exception {
        for (int turn = 0; ; turn++) {
            try {
                return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId();
            } catch (ExecutionException error) {
                if (turn == 100) {
                    throw error;
                }
                Thread.sleep(100);
            }
        }
    }

    private void topics() throws Exception {
        call("createTopics", () -> admin.createTopics(List.of(new NewTopic(TOPIC, 2, (short) 1).configs(Map.of("retention.ms", "60000")))));
        Uuid id = id(TOPIC);
        call("createTopics/validate", () -> admin.createTopics(List.of(new NewTopic("validated", 2, (short) 1)), new CreateTopicsOptions().validateOnly(true)));
        call("createPartitions", () -> admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(3))));
        call("listTopics", () -> admin.listTopics(new ListTopicsOptions().listInternal(true)));
        call("describeTopics", () -> admin.describeTopics(List.of(TOPIC)));
        call("describeTopics/id", () -> admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds());
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, GROUP);
        ConfigResource metrics = new ConfigResource(ConfigResource.Type.CLIENT_METRICS, "metrics");
        ConfigResource logger = new ConfigResource(ConfigResource.Type.BROKER_LOGGER, "1");
        call("incrementalAlterConfigs", () -> set(topic, "segment.bytes", "2097152"));
        call("incrementalAlterConfigs/broker", () -> set(broker, "log.cleaner.threads", "1"));
        call("incrementalAlterConfigs/cluster", () -> set(new ConfigResource(ConfigResource.Type.BROKER, ""), "log.cleaner.threads", "1"));
        call("incrementalAlterConfigs/group", () -> set(group, "consumer.session.timeout.ms", "50000"));
        call("incrementalAlterConfigs/client-metrics", () -> set(metrics, "interval.ms", "60000"));
        call("describeConfigs", () -> admin.describeConfigs(List.of(topic, broker, group), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)));
        call("describeConfigs/client-metrics", () -> admin.describeConfigs(List.of(metrics)));
        call("describeConfigs/logger", () -> admin.describeConfigs(List.of(logger)));
        call("listConfigResources", () -> admin.listConfigResources());
        call("listClientMetricsResources", () -> admin.listClientMetricsResources());
        settings.put("key.serializer", StringSerializer.class.getName());
        settings.put("value.serializer", StringSerializer.class.getName());
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
            for (int n = 0; n < 6; n++) {
                producer.send(new ProducerRecord<>(TOPIC, n % 3, null, "v")).get();
            }
        }
        for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.forTimestamp(1), OffsetSpec.earliestLocal(), OffsetSpec.latestTiered(), OffsetSpec.earliestPendingUpload())) {
            call("listOffsets/" + spec.getClass().getSimpleName(), () -> admin.listOffsets(Map.of(partition(0), spec)));
        }
        call("deleteRecords", () -> admin.deleteRecords(Map.of(partition(0), RecordsToDelete.beforeOffset(1))));
    }

    private Object set(ConfigResource resource, String key, String value) {
        return admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET))));
    }

    private void replicas() throws Exception {
        TopicPartitionReplica replica = new TopicPartitionReplica(TOPIC, 0, 1);
        call("describeLogDirs", () -> admin.describeLogDirs(List.of(1)));
        call("describeReplicaLogDirs", () -> admin.describeReplicaLogDirs(List.of(replica)));
        String folder = admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).keySet().iterator().next();
        call("alterReplicaLogDirs", () -> admin.alterReplicaLogDirs(Map.of(replica, folder)));
        call("electLeaders", () -> {
            Optional<Throwable> outcome = admin.electLeaders(ElectionType.PREFERRED, Set.of(partition(0))).partitions().get().get(partition(0));
            return outcome.filter(error -> !(error instanceof ElectionNotNeededException));
        });
        call("alterPartitionReassignments", () -> admin.alterPartitionReassignments(Map.of(partition(0), Optional.of(new NewPartitionReassignment(List.of(1))))));
        call("listPartitionReassignments", () -> admin.listPartitionReassignments());
    }

    private void groups() {
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.of(partition(0), new OffsetAndMetadata(1), partition(1), new OffsetAndMetadata(1));
        call("alterConsumerGroupOffsets", () -> admin.alterConsumerGroupOffsets(GROUP, offsets));
        call("listGroups", () -> admin.listGroups());
        call("listConsumerGroups", () -> admin.listConsumerGroups());
        call("describeConsumerGroups", () -> admin.describeConsumerGroups(List.of(GROUP)));
        call("describeClassicGroups", () -> admin.describeClassicGroups(List.of(GROUP)));
        call("listConsumerGroupOffsets", () -> admin.listConsumerGroupOffsets(GROUP));
        call("removeMembersFromConsumerGroup/unknown", () -> admin.removeMembersFromConsumerGroup(GROUP, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))));
        call("deleteConsumerGroupOffsets", () -> admin.deleteConsumerGroupOffsets(GROUP, Set.of(partition(0))));
        call("deleteConsumerGroups", () -> admin.deleteConsumerGroups(List.of(GROUP)));
        call("alterShareGroupOffsets", () -> admin.alterShareGroupOffsets(SHARE, Map.of(partition(0), 1L)));
        call("describeShareGroups", () -> admin.describeShareGroups(List.of(SHARE)));
        call("listShareGroupOffsets", () -> admin.listShareGroupOffsets(Map.of(SHARE, new ListShareGroupOffsetsSpec())));
        call("deleteShareGroupOffsets", () -> admin.deleteShareGroupOffsets(SHARE, Set.of(TOPIC)));
        call("deleteShareGroups", () -> admin.deleteShareGroups(List.of(SHARE)));
        call("alterStreamsGroupOffsets", () -> admin.alterStreamsGroupOffsets(STREAMS, offsets));
        call("listStreamsGroupOffsets", () -> admin.listStreamsGroupOffsets(Map.of(STREAMS, new ListStreamsGroupOffsetsSpec())));
        call("describeStreamsGroups", () -> admin.describeStreamsGroups(List.of(STREAMS)));
        call("deleteStreamsGroupOffsets", () -> admin.deleteStreamsGroupOffsets(STREAMS, Set.of(partition(0))));
        call("deleteStreamsGroups", () -> admin.deleteStreamsGroups(List.of(STREAMS)));
    }

    private void transactions() throws Exception {
        Properties transactional = new Properties();
        transactional.putAll(settings);
        transactional.put("transactional.id", ID);
        KafkaProducer<String, String> producer = new KafkaProducer<>(transactional);
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(TOPIC, 0, null, "open")).get();
        call("listTransactions", () -> admin.listTransactions());
        call("describeTransactions", () -> admin.describeTransactions(List.of(ID)));
        call("describeProducers", () -> admin.describeProducers(List.of(partition(0))));
        ProducerState state = admin.describeProducers(List.of(partition(0))).partitionResult(partition(0)).get().activeProducers().stream()
                .filter(each -> each.currentTransactionStartOffset().isPresent()).findFirst().orElseThrow();
        call("abortTransaction", () -> admin.abortTransaction(new AbortTransactionSpec(
                partition(0), state.producerId(), (short) state.producerEpoch(), state.coordinatorEpoch().orElse(0))));
        call("fenceProducers", () -> admin.fenceProducers(List.of(ID)));
        call("forceTerminateTransaction", () -> admin.forceTerminateTransaction(ID));
        producer.close(Duration.ZERO);
    }

    private void cluster() {
        call("describeCluster", () -> admin.describeCluster(new DescribeClusterOptions().includeFencedBrokers(true)));
        call("describeFeatures", () -> admin.describeFeatures());
        call("updateFeatures", () -> admin.updateFeatures(Map.of("group.version", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions().validateOnly(true)));
        call("describeMetadataQuorum", () -> admin.describeMetadataQuorum());
        call("unregisterBroker/unknown", () -> admin.unregisterBroker(9));
        RaftVoterEndpoint endpoint = new RaftVoterEndpoint("CONTROLLER", "127.0.0.1", 1);
        call("addRaftVoter/itself", () -> admin.addRaftVoter(1, Uuid.randomUuid(), Set.of(endpoint)));
        call("removeRaftVoter/unknown", () -> admin.removeRaftVoter(9, Uuid.randomUuid()));
        call("alterClientQuotas", () -> admin.alterClientQuotas(List.of(new ClientQuotaAlteration(
                new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, "c")), List.of(new ClientQuotaAlteration.Op("consumer_byte_rate", 1e9))))));
        call("describeClientQuotas", () -> admin.describeClientQuotas(ClientQuotaFilter.all()));
        call("clientInstanceId", () -> {
            Properties pushing = new Properties();
            pushing.putAll(settings);
            pushing.put("enable.metrics.push", true);
            for (int turn = 1; ; turn++) {
                try (Admin measured = Admin.create(pushing)) {
                    return measured.clientInstanceId(Duration.ofSeconds(10));
                } catch (NullPointerException error) {
                    // The client's own, seen with Apache Kafka, too.
                    if (turn == 3) {
                        throw error;
                    }
                }
            }
        });
    }

    private void security() {
        AclBinding binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, TOPIC, PatternType.LITERAL),
                new AccessControlEntry("User:a", "*", AclOperation.READ, AclPermissionType.ALLOW));
        call("createAcls", () -> admin.createAcls(List.of(binding)));
        call("describeAcls", () -> admin.describeAcls(AclBindingFilter.ANY));
        call("deleteAcls", () -> admin.deleteAcls(List.of(binding.toFilter())));
        call("alterUserScramCredentials", () -> admin.alterUserScramCredentials(List.of(
                new UserScramCredentialUpsertion("a", new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "password"))));
        call("describeUserScramCredentials", () -> admin.describeUserScramCredentials());
        call("createDelegationToken", () -> admin.createDelegationToken());
        call("renewDelegationToken", () -> admin.renewDelegationToken(new byte[] {1}));
        call("expireDelegationToken", () -> admin.expireDelegationToken(new byte[] {1}));
        call("describeDelegationToken", () -> admin.describeDelegationToken());
    }

    private void ends() throws Exception {
        call("deleteTopics", () -> admin.deleteTopics(List.of(TOPIC)));
        admin.createTopics(List.of(new NewTopic("other", 1, (short) 1))).all().get();
        Uuid id = id("other");
        call("deleteTopics/id", () -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))));
    }
}
