//! The one address that users know: HAProxy, as operators run it, in front of the gateways of all datacentres. It asks each gateway whether
//! it is ready and sends new connections to those that are; it passes bytes on and knows nothing of S3, so that what a client sees is
//! what a gateway said. Connections to a gateway that is found dead are ended, so that their clients try again elsewhere.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::{Shape, Stack, configure, words};
use crate::lab::component::{self, Component, Home};
use crate::lab::plan::{Name, Place, Zone, ports};

/// What the component is called.
pub const NAME: &str = "haproxy";
/// How often a gateway is asked, milliseconds, and how many answers in a row change the opinion of it.
const ASK_EVERY_MS: u32 = 500;
const FAILURES: u32 = 2;
/// How long an answer may take, milliseconds.
const ANSWER_MS_MAX: u32 = 1000;
/// How long a connection may be idle, seconds: more than the 45 s that a request may wait while a primary is replaced.
const IDLE_SECONDS_MAX: u32 = 75;

/// The balancer.
///
/// # Errors
/// Where its configuration cannot be written.
pub fn component(lab: &Name, shape: &Shape, program: &Path) -> anyhow::Result<Component> {
    let path = configure(lab, Home::Client, NAME, "haproxy.cfg", &configuration(shape.stack))?;
    Ok(Component {
        home: Home::Client,
        name: NAME.to_owned(),
        command: words(program, ["-db".to_owned(), "-f".to_owned(), path]),
        environment: Vec::new(),
        as_postgres: false,
        phase: 7,
    })
}

fn configuration(stack: Stack) -> String {
    let (port, checked, path) = match stack {
        Stack::Cairn => (ports::S3, ports::ADMIN, "/readyz"),
        Stack::SeaweedFs => (ports::SEAWEEDFS_S3, ports::SEAWEEDFS_S3, "/status"),
    };
    let mut text = format!(
        "global
    stats socket unix@./stats mode 600
    maxconn 8192

defaults
    mode tcp
    timeout connect 2s
    timeout client {IDLE_SECONDS_MAX}s
    timeout server {IDLE_SECONDS_MAX}s
    timeout check {ANSWER_MS_MAX}ms
    retries 3
    option redispatch 1

frontend s3
    bind {}:{}
    default_backend gateways

backend gateways
    balance leastconn
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host lab
    http-check expect status 200
    default-server check port {checked} inter {ASK_EVERY_MS}ms fall {FAILURES} rise 2 on-marked-down shutdown-sessions
",
        Place::Client.address(),
        ports::S3,
    );
    for zone in Zone::ALL {
        // A string takes any text.
        let _ = writeln!(text, "    server {} {}", zone.name(), zone.at(port));
    }
    text
}

/// What the balancer thinks of each gateway: its datacentre, and `UP`, `DOWN` or what is between.
///
/// # Errors
/// Where it does not answer.
pub fn servers(lab: &Name) -> anyhow::Result<Vec<(Zone, String)>> {
    let path = component::directory(lab, Home::Client, NAME).join("stats");
    let mut stream = UnixStream::connect(&path).with_context(|| format!("the balancer does not answer at {}", path.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"show stat\n")?;
    let mut table = String::new();
    stream.read_to_string(&mut table)?;
    Ok(parse(&table))
}

/// Reads the rows of the gateways in HAProxy's table of comma-separated values.
fn parse(table: &str) -> Vec<(Zone, String)> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (Some(server), Some(status)) = (column("svname"), column("status")) else {
        return Vec::new();
    };
    lines
        .filter_map(|line| {
            let values: Vec<&str> = line.split(',').collect();
            Some((Zone::named(values.get(server)?)?, (*values.get(status)?).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Zone, parse};

    #[test]
    fn what_the_balancer_thinks_is_read_by_the_names_of_the_columns() {
        let table = "# pxname,svname,qcur,status,weight,\ns3,FRONTEND,,OPEN,,\ngateways,geneva,0,UP,1,\ngateways,gland,0,DOWN 1/2,1,\ngateways,BACKEND,0,UP,1,\n\n";
        assert_eq!(parse(table), [(Zone::Geneva, "UP".to_owned()), (Zone::Gland, "DOWN 1/2".to_owned())]);
        assert!(parse("").is_empty());
    }
}
