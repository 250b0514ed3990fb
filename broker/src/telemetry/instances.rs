//! The clients that push their metrics: what each was asked for, when it may speak again, what it told. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use moldau_metadata::{ConfigResourceType, MetadataImage};
use moldau_model::{ErrorCode, TimestampMs, Uuid};
use regex::Regex;

use super::otlp::{Kind, Point};

/// How often clients ask for which nobody wants metrics, and Kafka's default of a subscription's `interval.ms`.
const INTERVAL_MS: i64 = 300_000;
/// A client that is silent for three intervals, or for this long if that is longer, is forgotten.
const SILENCE_MS_MIN: i64 = 60_000;
/// How many clients are known at a time; the most silent one makes room for the next. Kafka's bound.
const INSTANCES_MAX: usize = 16_384;
/// How many numbers of all clients together are kept, at some hundred bytes each; what goes beyond is not shown.
pub(crate) const SERIES_MAX: usize = 50_000;
/// All metrics, in a subscription and in what a client is told.
const ALL: &str = "*";

/// What a subscription says.
#[derive(Debug)]
pub(crate) struct Subscription {
    metrics: Vec<String>,
    interval_ms: i64,
    /// Properties of clients, and what they have to be like.
    patterns: Vec<(String, Regex)>,
}

/// The subscriptions of an image. What is not set in one is as the definitions say.
pub(crate) fn subscriptions(image: &MetadataImage) -> Vec<Subscription> {
    let of_clients = image
        .configs()
        .iter()
        .filter(|(resource, _)| resource.resource_type == ConfigResourceType::ClientMetrics);
    let list = |text: Option<&Arc<str>>| -> Vec<String> {
        let words = text.map_or("", |text| text).split(',').map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let subscription = |configs: &moldau_metadata::ResourceConfigs| {
        let pattern = |pattern: String| {
            let (property, expression) = pattern.split_once('=')?;
            // The whole of a property has to match, as in Kafka.
            let expression = Regex::new(&format!("^(?:{})$", expression.trim())).ok()?;
            Some((property.trim().to_owned(), expression))
        };
        Subscription {
            metrics: list(configs.get("metrics")),
            interval_ms: configs
                .get("interval.ms")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(INTERVAL_MS),
            patterns: list(configs.get("match")).into_iter().filter_map(pattern).collect(),
        }
    };
    of_clients.map(|(_, configs)| subscription(configs)).collect()
}

/// What is known of a client, by the properties that a subscription can ask for.
pub(crate) type Properties = BTreeMap<&'static str, String>;

/// What a client is to push, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) subscription_id: i32,
    /// Prefixes of names; none at all for "nothing".
    pub(crate) metrics: Vec<String>,
    pub(crate) interval_ms: i64,
}

impl Wanted {
    fn of(subscriptions: &[Subscription], client: Uuid, properties: &Properties) -> Self {
        let matches = |subscription: &&Subscription| {
            subscription.patterns.iter().all(|(property, expression)| {
                properties.get(property.as_str()).is_some_and(|value| expression.is_match(value))
            })
        };
        let mut metrics = Vec::new();
        let mut interval_ms = INTERVAL_MS;
        for subscription in subscriptions.iter().filter(matches) {
            interval_ms = interval_ms.min(subscription.interval_ms);
            metrics.extend(subscription.metrics.iter().cloned());
        }
        metrics.sort();
        metrics.dedup();
        if metrics.iter().any(|metric| metric == ALL) {
            metrics = vec![ALL.to_owned()];
        }
        Self { subscription_id: subscription_id(&metrics, interval_ms, client), metrics, interval_ms }
    }
}

/// Names what a client is to push: the same on every broker, so that it can push to another.
fn subscription_id(metrics: &[String], interval_ms: i64, client: Uuid) -> i32 {
    let mut hash = 0x811c_9dc5_u32;
    let interval = interval_ms.to_be_bytes();
    let names = metrics.iter().flat_map(|metric| metric.bytes().chain(std::iter::once(0)));
    for byte in names.chain(interval).chain(client.as_bytes().iter().copied()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash.cast_signed()
}

/// A number of a client: the metric's name, and its attributes.
pub(crate) type SeriesKey = (String, BTreeMap<String, String>);

#[derive(Debug)]
struct Instance {
    properties: Properties,
    wanted: Wanted,
    /// The subscriptions that `wanted` comes of.
    generation: u64,
    asked: Option<TimestampMs>,
    pushed: Option<TimestampMs>,
    seen: TimestampMs,
    /// It said that it ends.
    is_terminating: bool,
    last_error: ErrorCode,
    series: BTreeMap<SeriesKey, (Kind, f64)>,
}

/// A push, without its metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    pub(crate) client: Uuid,
    pub(crate) subscription_id: i32,
    pub(crate) is_terminating: bool,
    pub(crate) has_known_compression: bool,
    pub(crate) bytes: usize,
    pub(crate) bytes_max: usize,
}

/// All clients that one broker knows.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    subscriptions: Vec<Subscription>,
    generation: u64,
    instances: HashMap<Uuid, Instance>,
    series_count: usize,
}

impl Instances {
    /// Other subscriptions: each client hears of them when it speaks next.
    pub(crate) fn subscribe(&mut self, subscriptions: Vec<Subscription>) {
        self.subscriptions = subscriptions;
        self.generation += 1;
    }

    fn instance(&mut self, client: Uuid, properties: Properties, now: TimestampMs) -> &mut Instance {
        let generation = self.generation;
        let known = self.instances.get(&client).map(|instance| instance.generation);
        if known != Some(generation) {
            if known.is_none() {
                self.make_room(now);
            }
            let (properties, series) = match self.instances.remove(&client) {
                Some(before) => (before.properties, before.series),
                None => (properties, BTreeMap::new()),
            };
            let wanted = Wanted::of(&self.subscriptions, client, &properties);
            let instance = Instance {
                properties,
                wanted,
                generation,
                asked: None,
                pushed: None,
                seen: now,
                is_terminating: false,
                last_error: ErrorCode::None,
                series,
            };
            self.instances.insert(client, instance);
        }
        let instance = self.instances.get_mut(&client).expect("it is there, or was just put there");
        instance.seen = now;
        instance
    }

    /// Forgets who was silent for long, and if that is nobody, the most silent one where there is no room.
    fn make_room(&mut self, now: TimestampMs) {
        self.forget_silent(now);
        if self.instances.len() >= INSTANCES_MAX
            && let Some(client) =
                self.instances.iter().min_by_key(|(_, instance)| instance.seen).map(|(client, _)| *client)
            && let Some(instance) = self.instances.remove(&client)
        {
            self.series_count -= instance.series.len();
        }
    }

    /// Forgets the clients that are gone.
    pub(crate) fn forget_silent(&mut self, now: TimestampMs) {
        let mut dropped = 0;
        self.instances.retain(|_, instance| {
            let silence_ms_max = SILENCE_MS_MIN.max(instance.wanted.interval_ms.saturating_mul(3));
            let stays = now.0.saturating_sub(instance.seen.0) < silence_ms_max;
            dropped += if stays { 0 } else { instance.series.len() };
            stays
        });
        self.series_count -= dropped;
    }

    /// A client asks what it is to push.
    ///
    /// # Errors
    /// `THROTTLING_QUOTA_EXCEEDED`: it asked before its time.
    pub(crate) fn ask(
        &mut self,
        client: Uuid,
        properties: Properties,
        now: TimestampMs,
    ) -> Result<Wanted, ErrorCode> {
        let instance = self.instance(client, properties, now);
        let spoke = instance.asked.max(instance.pushed);
        let is_early = spoke.is_some_and(|spoke| now.0 - spoke.0 < instance.wanted.interval_ms);
        // Whose push was refused for what it was told has to ask again at once.
        let has_reason = matches!(
            instance.last_error,
            ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType
        );
        if is_early && !has_reason {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        instance.asked = Some(now);
        instance.last_error = ErrorCode::None;
        Ok(instance.wanted.clone())
    }

    /// Whether a push is taken.
    ///
    /// # Errors
    /// Kafka's codes, in Kafka's order.
    pub(crate) fn check_push(
        &mut self,
        push: Push,
        properties: Properties,
        now: TimestampMs,
    ) -> Result<(), ErrorCode> {
        let instance = self.instance(push.client, properties, now);
        let result = instance.check(push, now);
        instance.last_error = result.err().unwrap_or(ErrorCode::None);
        instance.is_terminating = push.is_terminating;
        result
    }

    /// Keeps what a client told. What it told before and does not any more is gone, sums apart.
    pub(crate) fn take(&mut self, client: Uuid, points: Vec<Point>) {
        let Some(instance) = self.instances.get_mut(&client) else { return };
        let before = instance.series.len();
        let room = SERIES_MAX - (self.series_count - before);
        instance.series.retain(|_, (kind, _)| *kind == Kind::Delta);
        for point in points {
            let key = (point.name, point.attributes);
            let room_left = instance.series.len() < room;
            match instance.series.get_mut(&key) {
                Some((Kind::Delta, sum)) if point.kind == Kind::Delta => *sum += point.value,
                Some(series) => *series = (point.kind, point.value),
                None if room_left => {
                    instance.series.insert(key, (point.kind, point.value));
                }
                None => {}
            }
        }
        self.series_count = self.series_count - before + instance.series.len();
    }

    /// Every number of every client, with the client and what it calls itself.
    pub(crate) fn series(&self) -> impl Iterator<Item = (Uuid, &str, &SeriesKey, Kind, f64)> {
        self.instances.iter().flat_map(|(client, instance)| {
            let name = instance.properties.get("client_id").map_or("", String::as_str);
            instance.series.iter().map(move |(key, (kind, value))| (*client, name, key, *kind, *value))
        })
    }
}

impl Instance {
    fn check(&mut self, push: Push, now: TimestampMs) -> Result<(), ErrorCode> {
        if self.is_terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        // The first push after a question may come early: clients spread theirs over time.
        let may_push = self.asked > self.pushed
            || self.pushed.is_none_or(|pushed| now.0 - pushed.0 >= self.wanted.interval_ms);
        if may_push {
            self.pushed = Some(now);
        } else if !push.is_terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if push.subscription_id != self.wanted.subscription_id {
            return Err(ErrorCode::UnknownSubscriptionId);
        }
        if !push.has_known_compression {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        if push.bytes > push.bytes_max {
            return Err(ErrorCode::TelemetryTooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::{MetadataBatch, records};
    use moldau_model::{LeaderEpoch, Offset};

    use super::*;

    const CLIENT: Uuid = Uuid::from_bytes([7; 16]);

    fn image(subscriptions: &[(&str, &str, &str)]) -> MetadataImage {
        let records = subscriptions.iter().map(|(name, key, value)| {
            records::Config {
                resource_type: 16,
                resource_name: (*name).into(),
                key: (*key).into(),
                value: Some((*value).into()),
            }
            .into()
        });
        let batch = MetadataBatch::from(records.collect::<Vec<_>>());
        MetadataImage::empty().replay_image(&batch, Offset(0), LeaderEpoch(1)).unwrap()
    }

    fn properties() -> Properties {
        [("client_id", "orders-1".to_owned()), ("client_software_name", "apache-kafka-java".to_owned())]
            .into()
    }

    fn instances(configs: &[(&str, &str, &str)]) -> Instances {
        let mut instances = Instances::default();
        instances.subscribe(subscriptions(&image(configs)));
        instances
    }

    const SUBSCRIBED: &[(&str, &str, &str)] =
        &[("a", "metrics", "org.x,org.y"), ("a", "interval.ms", "1000")];

    fn push(subscription_id: i32) -> Push {
        Push {
            client: CLIENT,
            subscription_id,
            is_terminating: false,
            has_known_compression: true,
            bytes: 10,
            bytes_max: 10,
        }
    }

    fn point(name: &str, kind: Kind, value: f64) -> Point {
        Point { name: name.into(), attributes: BTreeMap::new(), kind, value }
    }

    fn told(instances: &Instances) -> Vec<(String, f64)> {
        instances.series().map(|(_, _, (name, _), _, value)| (name.clone(), value)).collect()
    }

    #[test]
    fn a_client_is_asked_for_what_all_matching_subscriptions_want() {
        let ask = |configs: &[(&str, &str, &str)]| {
            let wanted = instances(configs).ask(CLIENT, properties(), TimestampMs(0)).unwrap();
            (wanted.metrics.join(" "), wanted.interval_ms)
        };
        assert_eq!(ask(&[]), (String::new(), 300_000), "nobody wants anything");
        assert_eq!(ask(SUBSCRIBED), ("org.x org.y".into(), 1000));
        let more =
            [SUBSCRIBED, &[("b", "metrics", "org.z,org.x"), ("b", "match", "client_id=orders-.*")]].concat();
        assert_eq!(ask(&more), ("org.x org.y org.z".into(), 1000));
        let all = [SUBSCRIBED, &[("b", "metrics", "*"), ("b", "interval.ms", "500")]].concat();
        assert_eq!(ask(&all), ("*".into(), 500));
        for pattern in [
            "client_id=orders",
            "client_id=orders-1,client_software_name=librdkafka",
            "client_source_port=.*",
        ] {
            let other = [("b", "metrics", "org.z"), ("b", "match", pattern), ("b", "interval.ms", "500")];
            assert_eq!(ask(&other), (String::new(), 300_000), "{pattern}");
        }
    }

    #[test]
    fn who_speaks_before_its_time_waits_and_the_first_push_may_come_at_once() {
        let mut instances = instances(SUBSCRIBED);
        let wanted = instances.ask(CLIENT, properties(), TimestampMs(0)).unwrap();
        let push = push(wanted.subscription_id);
        let throttled = Err(ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(instances.ask(CLIENT, properties(), TimestampMs(10)).map(drop), throttled);
        assert_eq!(instances.check_push(push, properties(), TimestampMs(20)), Ok(()));
        assert_eq!(instances.check_push(push, properties(), TimestampMs(1019)), throttled);
        assert_eq!(instances.check_push(push, properties(), TimestampMs(1020)), Ok(()));
        let last = Push { is_terminating: true, ..push };
        assert_eq!(
            instances.check_push(last, properties(), TimestampMs(1030)),
            Ok(()),
            "the last one may, too"
        );
        assert_eq!(
            instances.check_push(push, properties(), TimestampMs(9000)),
            Err(ErrorCode::InvalidRequest)
        );
    }

    #[test]
    fn a_push_that_nobody_asked_for_is_refused_and_the_client_asks_anew() {
        let mut instances = instances(SUBSCRIBED);
        let wanted = instances.ask(CLIENT, properties(), TimestampMs(0)).unwrap();
        let unknown = Err(ErrorCode::UnknownSubscriptionId);
        assert_eq!(
            instances.check_push(push(wanted.subscription_id + 1), properties(), TimestampMs(1)),
            unknown
        );
        assert!(instances.ask(CLIENT, properties(), TimestampMs(2)).is_ok());
        let strange = Push { has_known_compression: false, ..push(wanted.subscription_id) };
        let refused = instances.check_push(strange, properties(), TimestampMs(3));
        assert_eq!(refused, Err(ErrorCode::UnsupportedCompressionType));
        let large = Push { bytes: 11, ..push(wanted.subscription_id) };
        assert!(instances.ask(CLIENT, properties(), TimestampMs(4)).is_ok());
        assert_eq!(
            instances.check_push(large, properties(), TimestampMs(5)),
            Err(ErrorCode::TelemetryTooLarge)
        );
        instances.subscribe(subscriptions(&image(&[("a", "metrics", "org.other")])));
        let push = push(wanted.subscription_id);
        assert_eq!(
            instances.check_push(push, properties(), TimestampMs(6000)),
            unknown,
            "it is to push something else"
        );
        let again = instances.ask(CLIENT, properties(), TimestampMs(6001)).unwrap();
        assert_eq!(again.metrics, ["org.other"]);
    }

    #[test]
    fn what_comes_to_a_sum_is_added_and_a_gauge_is_what_was_told_last() {
        let mut instances = instances(SUBSCRIBED);
        instances.ask(CLIENT, properties(), TimestampMs(0)).unwrap();
        instances.take(CLIENT, vec![point("sum", Kind::Delta, 2.0), point("gauge", Kind::Gauge, 7.0)]);
        instances.take(CLIENT, vec![point("sum", Kind::Delta, 3.0), point("other", Kind::Cumulative, 1.0)]);
        assert_eq!(told(&instances), [("other".to_owned(), 1.0), ("sum".to_owned(), 5.0)]);
        instances.forget_silent(TimestampMs(59_999));
        assert_eq!(told(&instances).len(), 2);
        instances.forget_silent(TimestampMs(60_000));
        assert_eq!((told(&instances).len(), instances.series_count), (0, 0));
    }

    #[test]
    fn neither_clients_nor_their_numbers_are_without_bound() {
        let mut instances = instances(SUBSCRIBED);
        for client in 0..INSTANCES_MAX as u128 + 10 {
            let client = Uuid::from_bytes((client + 2).to_be_bytes());
            instances.ask(client, properties(), TimestampMs(0)).unwrap();
            if instances.series_count < SERIES_MAX {
                instances.take(client, (0..30).map(|n| point(&n.to_string(), Kind::Gauge, 1.0)).collect());
            }
        }
        assert_eq!(instances.instances.len(), INSTANCES_MAX);
        assert!(instances.series_count <= SERIES_MAX);
        assert_eq!(told(&instances).len(), instances.series_count);
    }
}
