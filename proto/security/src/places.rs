//! Places for connections of one kind, as of those that are nobody's yet: so many in all, and no address may hold more than
//! its share, so that one machine of strangers does not keep everybody else from authenticating.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The places of one kind. A place is given back when it is dropped.
#[derive(Debug)]
pub struct Places {
    all_max: usize,
    per_address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    #[error("there are {0} connections of its kind already")]
    All(usize),
    #[error("there are {0} connections of its kind from this address already")]
    Address(usize),
}

impl Places {
    #[must_use]
    pub fn new(all_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, per_address_max, taken: Mutex::default() })
    }

    /// Takes a place for a connection from `address`.
    ///
    /// # Errors
    /// Which of the two bounds is reached.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let address = counted_as(address);
        let mut taken = self.taken.lock();
        if taken.all >= self.all_max {
            return Err(NoPlace::All(self.all_max));
        }
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.per_address_max {
            return Err(NoPlace::Address(self.per_address_max));
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Ok(Place { places: Arc::clone(self), address })
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Whoever has one address of IPv6 has the whole network of 64 bits, and could come from another address each time.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_all_together_have_no_more_than_there_are() {
        let places = Places::new(3, 2);
        let first = places.take(address("10.0.0.1")).unwrap();
        let _second = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), NoPlace::Address(2));
        let third = places.take(address("10.0.0.2")).unwrap();
        assert_eq!(places.take(address("10.0.0.3")).unwrap_err(), NoPlace::All(3));
        drop(third);
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), NoPlace::Address(2));
        drop(first);
        assert!(places.take(address("10.0.0.1")).is_ok());
        assert_eq!(places.taken(), 1);
        drop(_second);
        assert_eq!((places.taken(), places.taken.lock().by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(places.take(address("2001:db8:1:2:ffff::9")).unwrap_err(), NoPlace::Address(1));
        assert!(places.take(address("2001:db8:1:3::1")).is_ok());
    }
}
