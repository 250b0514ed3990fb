//! `meta.properties`, version 1: whose directory this is (KIP-858). A Java properties file.

use moldau_model::{BrokerId, Uuid};

pub(crate) const FILE_NAME: &str = "meta.properties";
pub(crate) const FILE_BYTES_MAX: usize = 64 << 10;

/// The identity of one log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`: 22 characters of base64 where Kafka or Moldau made it, any text where an operator chose it.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: BrokerId,
    /// `directory.id`.
    pub directory_id: Uuid,
}

impl MetaProperties {
    pub(crate) fn encode(&self) -> String {
        format!(
            "#\n#Written by Moldau\ncluster.id={}\ndirectory.id={}\nnode.id={}\nversion=1\n",
            self.cluster_id, self.directory_id, self.node_id
        )
    }

    /// Reads the file; the error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
        let (mut version, mut cluster_id, mut node_id, mut directory_id) = (None, None, None, None);
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            let value = value.trim_start().replace('\\', "");
            match key.trim_end() {
                "version" => version = Some(value),
                "cluster.id" => cluster_id = Some(value),
                "node.id" | "broker.id" => node_id = Some(value),
                "directory.id" => directory_id = Some(value),
                _ => {}
            }
        }
        let version = version.ok_or("version is missing")?;
        if version.trim_end() != "1" {
            return Err(format!("version {version}, where 1 is the only one known"));
        }
        let node_id = node_id.ok_or("node.id is missing")?;
        let directory_id = directory_id.ok_or("directory.id is missing")?;
        Ok(Self {
            cluster_id: cluster_id.ok_or("cluster.id is missing")?,
            node_id: BrokerId(node_id.trim_end().parse().map_err(|_| format!("node.id {node_id:?}"))?),
            directory_id: directory_id
                .trim_end()
                .parse()
                .map_err(|_| format!("directory.id {directory_id:?}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_reads_what_kafka_writes() {
        let properties = MetaProperties {
            cluster_id: "mKZ8dTqYR1mXkF2g5p0Dhw".into(),
            node_id: BrokerId(3),
            directory_id: Uuid::from_random_bytes([9; 16]),
        };
        assert_eq!(MetaProperties::decode(properties.encode().as_bytes()), Ok(properties.clone()));
        let kafkas = format!(
            "#\n#Sun Nov 23 23:23:23 UTC 2026\ncluster.id=mKZ8dTqYR1mXkF2g5p0Dhw\nversion=1\ndirectory.id={}\nnode.id=3\n",
            properties.directory_id
        );
        assert_eq!(MetaProperties::decode(kafkas.as_bytes()), Ok(properties));
    }

    #[test]
    fn what_is_missing_or_another_version_is_told() {
        for (text, expected) in [
            ("", "version is missing"),
            ("version=0\nbroker.id=1\n", "version 0"),
            ("version=1\ncluster.id=a\n", "node.id is missing"),
            ("version=1\ncluster.id=a\nnode.id=x\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\n", "node.id \"x\""),
            ("version=1\ncluster.id=a\nnode.id=1\ndirectory.id=short\n", "directory.id \"short\""),
            ("version=1\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAA\n", "cluster.id is missing"),
        ] {
            let error = MetaProperties::decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
