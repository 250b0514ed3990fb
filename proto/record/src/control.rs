//! The records of a control batch: how a transaction ended (KIP-98).

/// A control record's key: version, type. Its value, for the end of a transaction: version, coordinator epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    Abort {
        coordinator_epoch: i32,
    },
    Commit {
        coordinator_epoch: i32,
    },
    /// A type that brokers do not act on: those of KRaft's own log are among them.
    Other {
        control_type: i16,
    },
}

/// Why bytes are no control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRecordError {
    #[error("control record without a key of at least four bytes")]
    BadKey,
    #[error("control record of version {version}")]
    BadVersion { version: i16 },
    #[error("end of a transaction without a value of at least six bytes")]
    BadValue,
}

const TYPE_ABORT: i16 = 0;
const TYPE_COMMIT: i16 = 1;

impl ControlRecord {
    /// Reads the key and value of a record from a control batch. Bytes behind the known fields are a later version's.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, ControlRecordError> {
        let key = key.and_then(|key| key.first_chunk::<4>()).ok_or(ControlRecordError::BadKey)?;
        let version = i16::from_be_bytes([key[0], key[1]]);
        if version < 0 {
            return Err(ControlRecordError::BadVersion { version });
        }
        let control_type = i16::from_be_bytes([key[2], key[3]]);
        if control_type != TYPE_ABORT && control_type != TYPE_COMMIT {
            return Ok(Self::Other { control_type });
        }
        let value = value.and_then(|value| value.first_chunk::<6>()).ok_or(ControlRecordError::BadValue)?;
        let version = i16::from_be_bytes([value[0], value[1]]);
        if version < 0 {
            return Err(ControlRecordError::BadVersion { version });
        }
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Ok(if control_type == TYPE_ABORT {
            Self::Abort { coordinator_epoch }
        } else {
            Self::Commit { coordinator_epoch }
        })
    }

    /// The key as it is written, of version 0.
    #[must_use]
    pub fn key_bytes(&self) -> [u8; 4] {
        let control_type = match self {
            Self::Abort { .. } => TYPE_ABORT,
            Self::Commit { .. } => TYPE_COMMIT,
            Self::Other { control_type } => *control_type,
        };
        let [high, low] = control_type.to_be_bytes();
        [0, 0, high, low]
    }

    /// The value as it is written, of version 0. `None` where we do not know the type's value.
    #[must_use]
    pub fn value_bytes(&self) -> Option<[u8; 6]> {
        let (Self::Abort { coordinator_epoch } | Self::Commit { coordinator_epoch }) = self else {
            return None;
        };
        let [a, b, c, d] = coordinator_epoch.to_be_bytes();
        Some([0, 0, a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_transaction_comes_back() {
        for record in
            [ControlRecord::Abort { coordinator_epoch: 7 }, ControlRecord::Commit { coordinator_epoch: -1 }]
        {
            let (key, value) = (record.key_bytes(), record.value_bytes().unwrap());
            assert_eq!(ControlRecord::parse(Some(&key), Some(&value)), Ok(record));
        }
        let commit = ControlRecord::Commit { coordinator_epoch: 0x0102_0304 };
        assert_eq!(commit.key_bytes(), [0, 0, 0, 1]);
        assert_eq!(commit.value_bytes(), Some([0, 0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_later_version_may_be_longer_and_a_type_unknown() {
        let longer = ControlRecord::parse(Some(&[0, 1, 0, 0, 9]), Some(&[0, 1, 0, 0, 0, 5, 9, 9]));
        assert_eq!(longer, Ok(ControlRecord::Abort { coordinator_epoch: 5 }));
        assert_eq!(
            ControlRecord::parse(Some(&[0, 0, 0, 2]), None),
            Ok(ControlRecord::Other { control_type: 2 })
        );
    }

    #[test]
    fn what_is_no_control_record_is_refused() {
        use ControlRecordError::{BadKey, BadValue, BadVersion};
        for (key, value, expected) in [
            (None, None, BadKey),
            (Some(&[][..]), None, BadKey),
            (Some(&[0, 0, 0]), Some(&[0; 6][..]), BadKey),
            (Some(&[0xff, 0xff, 0, 0]), Some(&[0; 6]), BadVersion { version: -1 }),
            (Some(&[0, 0, 0, 1]), None, BadValue),
            (Some(&[0, 0, 0, 1]), Some(&[0; 5]), BadValue),
            (Some(&[0, 0, 0, 1]), Some(&[0x80, 0, 0, 0, 0, 0]), BadVersion { version: i16::MIN }),
        ] {
            assert_eq!(ControlRecord::parse(key, value), Err(expected));
        }
    }
}
