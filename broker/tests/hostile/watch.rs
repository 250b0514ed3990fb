//! What a broker must not do while it is under attack: panic, grow.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

static PANICS: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();
/// Tests that look at the memory of the process run one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A stretch of one test's attack.
pub(crate) struct Watch {
    panics_before: usize,
    resident_before: u64,
    _alone: MutexGuard<'static, ()>,
}

/// Panics of tests' own threads are failures of their own; libtest names those threads by the tests' paths.
fn is_test_thread() -> bool {
    std::thread::current().name().is_some_and(|name| name.contains("::") || name == "main")
}

impl Watch {
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let default = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !is_test_thread() {
                    PANICS.fetch_add(1, Ordering::SeqCst);
                }
                default(panic);
            }));
        });
        let alone = ALONE.lock();
        Self {
            panics_before: PANICS.load(Ordering::SeqCst),
            resident_before: resident_bytes(),
            _alone: alone,
        }
    }

    pub(crate) fn panics(&self) -> usize {
        PANICS.load(Ordering::SeqCst) - self.panics_before
    }

    /// How much the process has grown since the beginning.
    pub(crate) fn growth_bytes(&self) -> u64 {
        resident_bytes().saturating_sub(self.resident_before)
    }
}

pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How many rounds a bounded run has.
pub(crate) fn iterations(default: u64) -> u64 {
    std::env::var("MOLDAU_FUZZ_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(crate) fn seed() -> u64 {
    std::env::var("MOLDAU_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x6d6f_6c64_6175)
}

/// SplitMix64: enough to choose, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
