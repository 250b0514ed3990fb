//! Whose span a record was produced in, as its `traceparent` header says (W3C Trace Context), and which requests are traced.

/// A span of somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) is_sampled: bool,
}

impl SpanContext {
    /// `00-<trace id>-<span id>-<flags>`; a later version may have more behind that.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split('-');
        let version = bytes::<1>(parts.next()?)?;
        let (trace_id, span_id) = (bytes::<16>(parts.next()?)?, bytes::<8>(parts.next()?)?);
        let flags = bytes::<1>(parts.next()?)?;
        let has_more = parts.next().is_some();
        let is_wrong = version == [0xff] || (version == [0] && has_more);
        if is_wrong || trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, is_sampled: flags[0] & 1 == 1 })
    }
}

/// Lower-case hexadecimal digits, and no others.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    /// What is sampled of requests whose records tell of no parent, or of all: a part from 0 to 1.
    pub(crate) ratio: f64,
    /// Whether a parent decides.
    pub(crate) is_parent_based: bool,
}

impl Sampler {
    /// By its name in the standard; the argument is for those by ratio, and 1 where there is none.
    pub(crate) fn from_name(name: &str, argument: Option<f64>) -> Option<Self> {
        let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.unwrap_or(1.0),
            _ => return None,
        };
        (0.0..=1.0).contains(&ratio).then_some(Self { ratio, is_parent_based })
    }

    /// Whether a request is traced. The same trace is, or is not, on every node that has the same ratio.
    pub(crate) fn samples(self, parent: Option<SpanContext>, trace_id: &[u8; 16]) -> bool {
        if let Some(parent) = parent.filter(|_| self.is_parent_based) {
            return parent.is_sampled;
        }
        let [.., a, b, c, d, e, f, g] = *trace_id;
        let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        // Of 56 bits the 53 that a float holds without rounding, or the greatest would not be below 1.
        ((random >> 3) as f64) < self.ratio * (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = SpanContext::parse(good.as_bytes()).unwrap();
        assert_eq!((context.trace_id[0], context.trace_id[15]), (0x0a, 0x9c));
        assert_eq!((context.span_id[0], context.span_id[7]), (0xb7, 0x31));
        assert!(context.is_sampled);
        let later = good.replacen("00-", "cc-", 1) + "-what-follows";
        assert_eq!(SpanContext::parse(later.as_bytes()), Some(context));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(SpanContext::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(SpanContext::parse(b"\xff"), None);
    }

    #[test]
    fn samplers_do_what_their_names_say() {
        let parent = |is_sampled| Some(SpanContext { trace_id: [1; 16], span_id: [1; 8], is_sampled });
        let (low, high) = ([0; 16], [0xff; 16]);
        let of = |name| Sampler::from_name(name, Some(0.5)).unwrap();
        assert!(of("always_on").samples(parent(false), &high));
        assert!(!of("always_off").samples(parent(true), &low));
        assert!(of("traceidratio").samples(None, &low));
        assert!(!of("traceidratio").samples(parent(true), &high));
        assert!(of("parentbased_always_off").samples(parent(true), &high));
        assert!(!of("parentbased_always_on").samples(parent(false), &low));
        assert!(!of("parentbased_traceidratio").samples(None, &high));
        assert!(Sampler::from_name("traceidratio", None).unwrap().samples(None, &high));
        assert_eq!(Sampler::from_name("traceidratio", Some(1.5)), None);
        assert_eq!(Sampler::from_name("jaeger_remote", None), None);
    }
}
