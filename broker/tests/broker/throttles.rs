//! Replication throttles, set and lifted as `kafka-reassign-partitions.sh --throttle` does.

use std::sync::Arc;

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use moldau_metadata::ConfigResource;
use moldau_model::BrokerId;

use crate::cluster::Cluster;
use crate::harness::eventually;
use crate::requests::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Sets the value, or deletes what was set, and waits until the broker acts on it.
fn alter(cluster: &Cluster, at: i32, resource: (i8, &str), key: &str, value: Option<&str>) {
    let config = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(if value.is_some() { 0 } else { 1 })
        .with_value(value.map(text));
    let altered = AlterConfigsResource::default()
        .with_resource_type(resource.0)
        .with_resource_name(text(resource.1))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![altered]);
    let response = cluster.connect(at).call(1, &request);
    assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    let resource = match resource {
        (TOPIC, name) => ConfigResource::topic(Arc::<str>::from(name)),
        (_, id) => ConfigResource::broker(BrokerId(id.parse().unwrap())),
    };
    eventually("the broker knows the setting", || {
        let image = cluster.broker(at).control.image();
        let configs = image.configs().of(&resource);
        configs.and_then(|configs| configs.get(key)).map(|value| &**value) == value
    });
}

#[test]
fn a_replica_that_lags_is_held_back_by_its_leaders_throttle_or_its_own_until_that_is_lifted() {
    // One batch at a time, so that a quota that is exceeded by one holds the others back. And who is held back was in sync
    // not long ago: nobody is to wait for it nevertheless.
    let mut cluster =
        Cluster::start(&[("replica.fetch.max.bytes", "1"), ("replica.lag.time.max.ms", "600000")]);
    for (name, side) in [("of-leader", "leader"), ("of-follower", "follower")] {
        let topic = cluster.create_topic(name, 1, &[]);
        let other = cluster.create_topic(&format!("other-{name}"), 1, &[]);
        let leader = cluster.wait_for_leader(&topic, 0);
        let moved = cluster.followers(&topic, 0)[0];
        let (throttled, limited) =
            if side == "leader" { ("*".to_owned(), leader) } else { (format!("0:{moved}"), moved) };
        let rate = format!("{side}.replication.throttled.rate");
        let replicas = format!("{side}.replication.throttled.replicas");
        // A byte a second: that is a batch each time the window is over.
        alter(&cluster, limited, (TOPIC, name), &replicas, Some(&throttled));
        alter(&cluster, limited, (BROKER, &limited.to_string()), &rate, Some("1"));
        // Who is in sync goes on all the same.
        let mut client = cluster.connect(leader);
        let value = vec![b'v'; 10_000];
        for _ in 0..20 {
            produced(&mut client, &topic, batch(&[&value]));
        }
        assert_eq!(cluster.isr(&topic, 0), [1, 2, 3]);
        cluster.stop(moved);
        let without: Vec<i32> = [1, 2, 3].into_iter().filter(|id| *id != moved).collect();
        cluster.wait_for_isr(&topic, 0, &without);
        for _ in 0..20 {
            produced(&mut client, &topic, batch(&[&value]));
        }
        cluster.start_broker(moved);
        // The broker that is held back there follows what is not throttled, record by record.
        cluster.wait_for_isr(&other, 0, &[1, 2, 3]);
        let mut other_client = cluster.connect(cluster.wait_for_leader(&other, 0));
        for _ in 0..50 {
            produced(&mut other_client, &other, batch(&[&value]));
            produced(&mut client, &topic, batch(&[&value]));
        }
        assert_eq!(cluster.isr(&other, 0), [1, 2, 3], "{side}");
        assert_eq!(cluster.isr(&topic, 0), without, "{side}");
        let (end, found) = (cluster.log_end(leader, &topic, 0), cluster.log_end(moved, &topic, 0));
        assert!(found < end - 50, "{side}: {found} of {end}");

        alter(&cluster, limited, (TOPIC, name), &replicas, None);
        cluster.wait_for_isr(&topic, 0, &[1, 2, 3]);
        alter(&cluster, limited, (BROKER, &limited.to_string()), &rate, None);
        produced(&mut client, &topic, batch(&[b"last"]));
        assert!(cluster.log(moved, &topic, 0) == cluster.log(leader, &topic, 0), "{side}");
    }
}
