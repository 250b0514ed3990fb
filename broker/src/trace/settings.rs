//! What `OTEL_*` variables say, or the settings of the same names: `OTEL_SERVICE_NAME` is `otel.service.name`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Sampler;

/// Appended to the endpoint that all signals share.
const TRACES_PATH: &str = "v1/traces";
const TIMEOUT_MS: u64 = 10_000;
const SCHEDULE_DELAY_MS: u64 = 5_000;

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// The collector's `host:port`, and the path there.
    pub(crate) address: String,
    pub(crate) path: String,
    /// Further lines of the request's head.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    /// How long spans wait for others.
    pub(crate) schedule_delay: Duration,
    pub(crate) sampler: Sampler,
    /// What is said of this process.
    pub(crate) resource: Vec<(String, String)>,
}

/// Why there are no traces, for the operator who asked for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traces: {0}")]
pub struct TraceSettingsError(String);

impl TraceSettings {
    /// `None` where nobody asked for traces.
    ///
    /// # Errors
    /// What the settings ask for cannot be done.
    pub fn of(
        settings: &BTreeMap<String, String>,
        node_id: impl std::fmt::Display,
    ) -> Result<Option<Self>, TraceSettingsError> {
        let get = |name: &str| settings.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
        let is_off = get("otel.sdk.disabled").is_some_and(|text| text.eq_ignore_ascii_case("true"))
            || get("otel.traces.exporter").is_some_and(|exporter| exporter == "none");
        let of_traces = get("otel.exporter.otlp.traces.endpoint");
        let of_all = get("otel.exporter.otlp.endpoint");
        let endpoint = match (of_traces, of_all, get("otel.traces.exporter")) {
            _ if is_off => return Ok(None),
            (Some(endpoint), ..) => endpoint.to_owned(),
            (None, Some(endpoint), _) => format!("{}/{TRACES_PATH}", endpoint.trim_end_matches('/')),
            (None, None, Some("otlp")) => format!("http://localhost:4318/{TRACES_PATH}"),
            (None, None, Some(other)) => {
                return Err(refused(format!("otel.traces.exporter={other} is not known")));
            }
            (None, None, None) => return Ok(None),
        };
        if let Some(protocol) =
            get("otel.exporter.otlp.protocol").filter(|protocol| *protocol != "http/protobuf")
        {
            let text = format!(
                "otel.exporter.otlp.protocol={protocol} is not spoken here, http/protobuf is (port 4318)"
            );
            return Err(refused(text));
        }
        let (address, path) = parse_endpoint(&endpoint)?;
        let number = |name: &str, default: u64| match get(name) {
            Some(text) => text.parse().map_err(|_| refused(format!("{name}={text} is no number"))),
            None => Ok(default),
        };
        Ok(Some(Self {
            address,
            path,
            headers: pairs("otel.exporter.otlp.headers", get("otel.exporter.otlp.headers"))?,
            timeout: Duration::from_millis(number("otel.exporter.otlp.timeout", TIMEOUT_MS)?),
            schedule_delay: Duration::from_millis(number("otel.bsp.schedule.delay", SCHEDULE_DELAY_MS)?),
            sampler: sampler(get("otel.traces.sampler"), get("otel.traces.sampler.arg"))?,
            resource: resource(
                get("otel.service.name"),
                get("otel.resource.attributes"),
                &node_id.to_string(),
            )?,
        }))
    }
}

fn refused(text: String) -> TraceSettingsError {
    TraceSettingsError(text)
}

/// `http://host[:port][/path]` as host with port, and path.
fn parse_endpoint(endpoint: &str) -> Result<(String, String), TraceSettingsError> {
    let Some(rest) = endpoint.strip_prefix("http://") else {
        let shown = without_user(endpoint);
        let text =
            format!("the endpoint {shown} does not begin with http://; TLS is a collector's on this host");
        return Err(refused(text));
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if authority.is_empty() || authority.contains('@') || !is_visible(authority) || !is_visible(path) {
        return Err(refused(format!("the endpoint {} is none", without_user(endpoint))));
    }
    let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok((address, format!("/{path}")))
}

/// The endpoint as it may be shown: a password may stand before the `@`.
fn without_user(endpoint: &str) -> &str {
    endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host)
}

/// Whether it can stand in the head of a request.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_graphic())
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, TraceSettingsError> {
    let name = name.unwrap_or("parentbased_always_on");
    let wrong = || refused(format!("otel.traces.sampler={name} with the argument {argument:?} is not known"));
    let ratio = argument.map(str::parse::<f64>).transpose().map_err(|_| wrong())?;
    Sampler::from_name(name, ratio).ok_or_else(wrong)
}

/// `a=1,b=2`, each percent-encoded as in W3C Baggage.
fn pairs(setting: &str, text: Option<&str>) -> Result<Vec<(String, String)>, TraceSettingsError> {
    let parts = text.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            // Neither name nor value is told: it may be a secret.
            let wrong = || refused(format!("{setting} is not written as name=value,name=value"));
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), decoded(value.trim()).ok_or_else(wrong)?);
            if name.is_empty() || !is_visible(name) || value.chars().any(char::is_control) {
                return Err(wrong());
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind.get(2..)?;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// `service.name` by its own setting goes before the one among the attributes.
fn resource(
    service_name: Option<&str>,
    attributes: Option<&str>,
    node_id: &str,
) -> Result<Vec<(String, String)>, TraceSettingsError> {
    let mut all: BTreeMap<String, String> = [
        ("service.name", "moldau"),
        ("service.instance.id", node_id),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    all.extend(pairs("otel.resource.attributes", attributes)?);
    if let Some(name) = service_name {
        all.insert("service.name".to_owned(), name.to_owned());
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<TraceSettings>, TraceSettingsError> {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TraceSettings::of(&settings, 7)
    }

    #[test]
    fn there_are_no_traces_unless_somebody_asks() {
        let endpoint = ("otel.exporter.otlp.endpoint", "http://c:4318");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("otel.service.name", "x")]), Ok(None));
        assert_eq!(of(&[endpoint, ("otel.sdk.disabled", "true")]), Ok(None));
        assert_eq!(of(&[endpoint, ("otel.traces.exporter", "none")]), Ok(None));
        assert!(of(&[endpoint]).unwrap().is_some());
        assert_eq!(of(&[("otel.traces.exporter", "otlp")]).unwrap().unwrap().address, "localhost:4318");
    }

    #[test]
    fn the_endpoint_of_traces_is_taken_as_it_is_and_that_of_all_gets_the_path() {
        for (name, value, address, path) in [
            ("otel.exporter.otlp.endpoint", "http://c:4318", "c:4318", "/v1/traces"),
            ("otel.exporter.otlp.endpoint", "http://c:4318/otlp/", "c:4318", "/otlp/v1/traces"),
            ("otel.exporter.otlp.traces.endpoint", "http://c/in?x=1", "c:80", "/in?x=1"),
            ("otel.exporter.otlp.traces.endpoint", "http://[::1]:9", "[::1]:9", "/"),
        ] {
            let settings = of(&[(name, value)]).unwrap().unwrap();
            assert_eq!((settings.address.as_str(), settings.path.as_str()), (address, path), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_told_and_secrets_are_not() {
        let endpoint = ("otel.exporter.otlp.endpoint", "http://c:4318");
        for other in [
            ("otel.exporter.otlp.protocol", "grpc"),
            ("otel.exporter.otlp.endpoint", "https://c:4318"),
            ("otel.exporter.otlp.endpoint", "http://c d"),
            ("otel.exporter.otlp.timeout", "soon"),
            ("otel.traces.sampler", "sometimes"),
            ("otel.traces.sampler.arg", "x"),
        ] {
            assert!(of(&[endpoint, other]).unwrap_err().to_string().contains(other.1), "{other:?}");
        }
        for endpoint in ["https://user:s3cret@c:4318", "http://user:s3cret@c", "user:s3cret@c"] {
            let error = of(&[("otel.exporter.otlp.endpoint", endpoint)]).unwrap_err().to_string();
            assert!(error.contains('c') && !error.contains("s3cret"), "{error}");
        }
        for secret in ["s3cret", "a=s3cret%0d%0a", "a=s3cret%z"] {
            let error = of(&[endpoint, ("otel.exporter.otlp.headers", secret)]).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn headers_and_attributes_are_pairs() {
        let settings = of(&[
            ("otel.exporter.otlp.endpoint", "http://c:4318"),
            ("otel.exporter.otlp.headers", "api-key=a%20b, x=1"),
            ("otel.resource.attributes", "service.name=by attribute,zone=eu"),
            ("otel.service.name", "orders"),
        ]);
        let settings = settings.unwrap().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [pair("api-key", "a b"), pair("x", "1")]);
        assert!(settings.resource.contains(&pair("service.name", "orders")));
        assert!(settings.resource.contains(&pair("service.instance.id", "7")));
        assert!(settings.resource.contains(&pair("zone", "eu")));
    }
}
