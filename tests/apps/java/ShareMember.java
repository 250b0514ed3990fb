import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A member of a share group that does what its standard input says: `ShareMember BOOTSTRAP GROUP TOPIC SETTING=VALUE...`. Each
 * command is answered by lines of which the last one is `end`:
 *
 * poll SECONDS: `record OFFSET DELIVERIES VALUE` for each record of the first poll that brings some.
 * say TYPE OFFSET...: acknowledges records of partition 0.
 * commit: sends what was said; `refused EXCEPTION` for each partition where it is refused.
 * lock: `lock MILLISECONDS`, how long the member has a record.
 * metric NAME: `metric NUMBER`.
 *
 * What the client throws is told as `failed EXCEPTION`.
 */
public class ShareMember {
    private final KafkaShareConsumer<String, String> consumer;
    private final Map<Long, ConsumerRecord<String, String>> records = new HashMap<>();

    private ShareMember(KafkaShareConsumer<String, String> consumer) {
        this.consumer = consumer;
    }

    public static void main(String[] arguments) throws IOException {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", arguments[1]);
        settings.put("share.acknowledgement.mode", "explicit");
        for (int i = 3; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        StringDeserializer text = new StringDeserializer();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        try (KafkaShareConsumer<String, String> consumer = new KafkaShareConsumer<>(settings, text, text)) {
            consumer.subscribe(List.of(arguments[2]));
            ShareMember member = new ShareMember(consumer);
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                try {
                    member.carryOut(line.split(" "));
                } catch (RuntimeException exception) {
                    System.out.println("failed " + exception.getClass().getSimpleName());
                }
                System.out.println("end");
            }
        }
    }

    private void carryOut(String[] words) {
        switch (words[0]) {
            case "poll" -> poll(Long.parseLong(words[1]));
            case "say" -> {
                for (int i = 2; i < words.length; i++) {
                    ConsumerRecord<String, String> record = records.get(Long.parseLong(words[i]));
                    consumer.acknowledge(record, AcknowledgeType.valueOf(words[1]));
                }
            }
            case "commit" -> consumer.commitSync().values().forEach(outcome -> outcome.ifPresent(
                    refusal -> System.out.println("refused " + refusal.getClass().getSimpleName())));
            case "lock" -> System.out.println("lock " + consumer.acquisitionLockTimeoutMs().orElse(-1));
            case "metric" -> consumer.metrics().forEach((name, metric) -> {
                if (name.name().equals(words[1])) {
                    System.out.println("metric " + metric.metricValue());
                }
            });
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    private void poll(long seconds) {
        long end = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
        while (System.nanoTime() < end) {
            boolean isEmpty = true;
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                isEmpty = false;
                records.put(record.offset(), record);
                short deliveries = record.deliveryCount().orElse((short) 0);
                System.out.println("record " + record.offset() + " " + deliveries + " " + record.value());
            }
            if (!isEmpty) {
                return;
            }
        }
    }
}
