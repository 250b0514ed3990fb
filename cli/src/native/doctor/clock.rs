//! Clocks: this machine's against the active controller's, by what it tells over Kafka's protocol, and against each node's
//! whose HTTP is reached from here, by the `Date` of its answer.

use std::net::{IpAddr, ToSocketAddrs};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{BROKER_MAX, Finding, Reached};
use crate::client::Client;
use crate::native::http;

/// Beyond this, times of records and in logs mislead whoever reads them.
const SKEW_NOTED_MS: i64 = 2_000;
/// Beyond this, records are refused as too far ahead, or kept too long (`message.timestamp.after.max.ms`).
const SKEW_BAD_MS: i64 = 60_000;

pub(super) fn check(client: &mut Client, reached: &[Reached], findings: &mut Vec<Finding>) {
    let before = now_ms();
    if let Ok(quorum) = client.describe_quorum()
        && let Some(leader) = quorum.leader()
        && leader.last_fetch_ms > 0
    {
        // The answer was given somewhere between the question and now.
        let here = before.midpoint(now_ms());
        findings.push(skew(&format!("controller {}", leader.id), leader.last_fetch_ms - here, 0));
    }
    for broker in reached {
        let Some(at) = http_date_ms(broker) else { continue };
        // A date has whole seconds: half of one is the best guess for the rest.
        findings.push(skew(&format!("node {}", broker.id), at + 500 - now_ms(), 500));
    }
}

fn skew(whose: &str, skew_ms: i64, precision_ms: i64) -> Finding {
    let subject = "clock";
    let direction = if skew_ms > 0 { "ahead of" } else { "behind" };
    let off = skew_ms.abs();
    let seen = format!("{whose} is {:.1} s {direction} this machine", off as f64 / 1000.0);
    let advice = "have both set by NTP (chrony, systemd-timesyncd)";
    if off > SKEW_BAD_MS {
        Finding::problem(subject, seen, advice)
    } else if off > SKEW_NOTED_MS {
        Finding::warning(subject, seen, advice)
    } else {
        let within =
            if off <= precision_ms.max(100) { format!("{whose} and this machine agree") } else { seen };
        Finding::good(subject, within)
    }
}

/// When the node says that it is. An HTTP listener on its loopback is reached only on the machine itself.
fn http_date_ms(broker: &Reached) -> Option<i64> {
    let listener = broker.http_listener.as_deref()?;
    let mut address = http::dialled(listener)?;
    let ip: IpAddr = (broker.host.as_str(), 0).to_socket_addrs().ok()?.next()?.ip();
    let is_open: bool = listener.trim().parse().is_ok_and(|a: std::net::SocketAddr| a.ip().is_unspecified());
    if is_open {
        address.set_ip(ip);
    } else if address.ip().is_loopback() && !ip.is_loopback() {
        return None;
    }
    let answer = http::get(address, "/livez", BROKER_MAX, http::SMALL_ANSWER_BYTES_MAX)?;
    parse_date_ms(answer.header("date")?)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, as HTTP writes it.
fn parse_date_ms(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_whitespace().skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days since 1970, by years that begin with March, so that the odd day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(parse_date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(parse_date_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_date_ms("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000_000));
        assert_eq!(parse_date_ms("today"), None);
    }

    #[test]
    fn a_skew_is_judged_by_its_size_either_way() {
        for (skew_ms, verdict) in
            [(40, Verdict::Good), (-5_000, Verdict::Warning), (90_000, Verdict::Problem)]
        {
            assert_eq!(skew("node 1", skew_ms, 0).verdict, verdict, "{skew_ms}");
        }
        assert_eq!(skew("node 1", -5_000, 0).seen, "node 1 is 5.0 s behind this machine");
    }
}
