//! Which ports the nodes of `moldau dev` listen on: Kafka's own where they are free, and the same ones again for a data
//! directory that is started again, for the nodes know one another by them.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use serde_json::{Value, json};

/// The first node's ports where nobody says otherwise: Kafka's own, and that of `http.listener`.
const CLIENT: u16 = 9092;
const CONTROLLER: u16 = 9093;
const HTTP: u16 = 9644;
/// The next node listens so much higher: 19092, 29092 are what Kafka's examples call the second and the third.
const STEP: u32 = 10_000;
/// Where a data directory keeps them.
const FILE_NAME: &str = "dev.json";

/// One node's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) controller: u16,
    pub(super) http: u16,
}

impl Ports {
    fn each(self) -> [u16; 3] {
        [self.client, self.controller, self.http]
    }
}

/// What was chosen, and whether Kafka's own ports were taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) nodes: Vec<Ports>,
    pub(super) others_are_taken: Option<u16>,
}

/// Ports from a base: the client's port of the first node.
fn from_base(base: u16, nodes: usize) -> Result<Vec<Ports>, String> {
    let port = |offset: u16, node: usize| {
        let node = u32::try_from(node).unwrap_or(u32::MAX);
        let port = u32::from(base) + u32::from(offset) + node.saturating_mul(STEP);
        u16::try_from(port).map_err(|_| {
            format!("--port {base}: node {} would listen on {port}, and 65535 is the last; choose a lower one or 0 for free ones", node + 1)
        })
    };
    (0..nodes)
        .map(|node| {
            Ok(Ports {
                client: port(0, node)?,
                controller: port(CONTROLLER - CLIENT, node)?,
                http: port(HTTP - CLIENT, node)?,
            })
        })
        .collect()
}

/// The first port that is in use.
fn first_taken(nodes: &[Ports]) -> Option<u16> {
    let mut ports = nodes.iter().flat_map(|node| node.each());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
}

/// Ports that the system has free. They are held until all are chosen, so that none comes twice.
fn free(nodes: usize) -> io::Result<Vec<Ports>> {
    let mut held = Vec::with_capacity(nodes * 3);
    let mut next = || -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        held.push(listener);
        Ok(port)
    };
    (0..nodes).map(|_| Ok(Ports { client: next()?, controller: next()?, http: next()? })).collect()
}

/// Chooses: `base` is what the user said, 0 for any free ones. Given ports have to be free; Kafka's own give way.
pub(super) fn choose(base: Option<u16>, nodes: usize) -> Result<Chosen, String> {
    let any = || free(nodes).map_err(|error| format!("no free port: {error}"));
    match base {
        Some(0) => Ok(Chosen { nodes: any()?, others_are_taken: None }),
        Some(base) => {
            let ports = from_base(base, nodes)?;
            match first_taken(&ports) {
                Some(port) => Err(format!(
                    "port {port} is in use; stop what uses it, or choose others by --port (0 for free ones)"
                )),
                None => Ok(Chosen { nodes: ports, others_are_taken: None }),
            }
        }
        None => {
            let ports = from_base(CLIENT, nodes)?;
            match first_taken(&ports) {
                Some(port) => Ok(Chosen { nodes: any()?, others_are_taken: Some(port) }),
                None => Ok(Chosen { nodes: ports, others_are_taken: None }),
            }
        }
    }
}

/// The ports that a data directory was started with before.
pub(super) fn kept(directory: &Path) -> Result<Option<Vec<Ports>>, String> {
    let path = directory.join(FILE_NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let broken = || format!("{} cannot be read; is it another program's directory?", path.display());
    let value: Value = serde_json::from_str(&text).map_err(|_| broken())?;
    let port = |node: &Value, name: &str| node[name].as_u64().and_then(|port| u16::try_from(port).ok());
    let ports = |node: &Value| {
        Some(Ports {
            client: port(node, "client")?,
            controller: port(node, "controller")?,
            http: port(node, "http")?,
        })
    };
    let nodes = value["nodes"].as_array().ok_or_else(broken)?;
    nodes.iter().map(ports).collect::<Option<Vec<_>>>().map(Some).ok_or_else(broken)
}

/// Writes them down for the next start.
pub(super) fn keep(directory: &Path, nodes: &[Ports]) -> io::Result<()> {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| json!({"client": node.client, "controller": node.controller, "http": node.http}))
        .collect();
    std::fs::write(directory.join(FILE_NAME), format!("{}\n", json!({ "nodes": nodes })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_node_listens_ten_thousand_higher() {
        let ports = from_base(9092, 3).unwrap();
        let clients: Vec<u16> = ports.iter().map(|node| node.client).collect();
        assert_eq!(clients, [9092, 19092, 29092]);
        assert_eq!(ports[2], Ports { client: 29092, controller: 29093, http: 29644 });
        assert!(from_base(60_000, 2).unwrap_err().contains("70000"));
    }

    #[test]
    fn a_given_port_that_is_taken_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = choose(Some(port), 1).unwrap_err();
        assert!(error.starts_with(&format!("port {port} is in use")), "{error}");
    }

    #[test]
    fn free_ports_are_all_different() {
        let chosen = choose(Some(0), 5).unwrap();
        let mut ports: Vec<u16> = chosen.nodes.iter().flat_map(|node| node.each()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 15);
    }

    #[test]
    fn a_directory_keeps_its_ports() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(kept(directory.path()), Ok(None));
        let ports = from_base(9092, 2).unwrap();
        keep(directory.path(), &ports).unwrap();
        assert_eq!(kept(directory.path()), Ok(Some(ports)));
        std::fs::write(directory.path().join(FILE_NAME), "{}").unwrap();
        assert!(kept(directory.path()).unwrap_err().contains("cannot be read"));
    }
}
