//! PostgreSQL in a lab, seen from outside: who leads, who may take over, and what a statement answers.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::plan::{Name, Place, Zone, ports};
use super::stack::patroni;
use super::{http, life, namespaces};

/// A member of the cluster, as the others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where it is.
    pub zone: Zone,
    /// `leader`, `quorum_standby`, `replica`, …
    pub role: String,
    /// `running`, `streaming`, `stopped`, …
    pub state: String,
    /// The timeline it is on: each promotion begins a new one.
    pub timeline: Option<u64>,
    /// How far it is behind the leader, bytes, where that is known.
    pub lag: Option<u64>,
}

impl Member {
    /// Whether it leads, and says that it runs.
    pub fn leads(&self) -> bool {
        self.role == "leader" && self.state == "running"
    }

    /// Whether the leader counts its answer towards the quorum, and it receives what the leader writes.
    pub fn follows(&self) -> bool {
        self.role == "quorum_standby" && self.state == "streaming"
    }
}

/// Whether etcd in a datacentre can decide: it answers, and so do enough others.
pub fn etcd_decides(lab: &Name, zone: Zone) -> bool {
    http::get(lab, Place::Zone(zone), zone.at(ports::ETCD), "/health")
        .is_ok_and(|answer| answer.json()["health"].as_str() == Some("true"))
}

/// The members, as a datacentre sees them in which etcd can decide: one that is cut off only remembers.
///
/// # Errors
/// Where there is no such datacentre.
pub fn members(lab: &Name) -> anyhow::Result<Vec<Member>> {
    for zone in Zone::ALL {
        if etcd_decides(lab, zone)
            && let Ok(answer) = http::get(lab, Place::Zone(zone), zone.at(ports::PATRONI), "/cluster")
        {
            return Ok(parse(&answer.json()));
        }
    }
    bail!("no datacentre has both an etcd that can decide and a Patroni that answers")
}

fn parse(cluster: &Value) -> Vec<Member> {
    let text = |member: &Value, name: &str| member[name].as_str().unwrap_or_default().to_owned();
    let members = cluster["members"].as_array().into_iter().flatten();
    members
        .filter_map(|member| {
            Some(Member {
                zone: Zone::named(member["name"].as_str()?)?,
                role: text(member, "role"),
                state: text(member, "state"),
                timeline: member["timeline"].as_u64(),
                lag: member["lag"].as_u64(),
            })
        })
        .collect()
}

/// Where the primary is: the one that leads and says by itself that it is no standby.
///
/// # Errors
/// Where there is none now.
pub fn primary(lab: &Name) -> anyhow::Result<Zone> {
    let members = members(lab)?;
    let leader = members.iter().find(|member| member.leads()).context("PostgreSQL has no leader now")?;
    let answer = http::get(lab, Place::Zone(leader.zone), leader.zone.at(ports::PATRONI), "/primary")?;
    if answer.status != 200 {
        bail!("{} leads and is not the primary yet", leader.zone.name());
    }
    Ok(leader.zone)
}

/// Who is asked to run a statement.
#[derive(Clone, Copy)]
pub enum Target {
    /// Whichever member takes writes.
    Primary,
    /// The member of this datacentre, whatever it is.
    Member(Zone),
}

/// Runs a statement with PostgreSQL's own client and gives what it printed. Where it is not answered in time, the client is killed: the
/// server may still do what it was asked.
///
/// # Errors
/// Where the statement fails or is not answered.
pub fn run(
    lab: &Name,
    from: Place,
    target: Target,
    (user, database): (&str, &str),
    statement: &str,
    patience: Duration,
) -> anyhow::Result<String> {
    let (hosts, kind) = match target {
        Target::Primary => (Zone::ALL.map(|zone| zone.address().to_string()).join(","), "read-write"),
        Target::Member(zone) => (zone.address().to_string(), "any"),
    };
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespaces::path(&lab.namespace(from)).display()))
        .args(["--", "timeout", "--signal=KILL", &format!("{:.1}", patience.as_secs_f64())])
        .arg(format!("{}/psql", patroni::PROGRAMS))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", statement])
        .env_clear()
        .envs([
            ("PGHOST", hosts.as_str()),
            ("PGPORT", &ports::POSTGRESQL.to_string()),
            ("PGUSER", user),
            ("PGDATABASE", database),
            ("PGPASSWORD", patroni::PASSWORD),
            ("PGTARGETSESSIONATTRS", kind),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PATH", "/usr/bin:/bin"),
        ]);
    crate::process::capture(&mut command).map(|answer| answer.trim().to_owned())
}

/// How long a standby may take to know the gateways' database, seconds.
const KNOWN_SECONDS_MAX: u64 = 120;

/// Makes the role and the database of the gateways, where they are not there, and waits until every member knows them: a client that is
/// given several members ends at one that says that there is no such database.
///
/// # Errors
/// Where the primary refuses, or a standby does not confirm it in time.
pub fn create(lab: &Name) -> anyhow::Result<()> {
    let (user, password) = (patroni::USER, patroni::PASSWORD);
    let ask = |statement: &str| {
        run(lab, Place::Client, Target::Primary, (patroni::ADMINISTRATOR, "postgres"), statement, Duration::from_secs(30))
    };
    if ask(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{user}'"))?.is_empty() {
        ask(&format!("CREATE ROLE {user} LOGIN PASSWORD '{password}'"))?;
    }
    if ask(&format!("SELECT 1 FROM pg_database WHERE datname = '{user}'"))?.is_empty() {
        ask(&format!("CREATE DATABASE {user} OWNER {user} TEMPLATE template0"))?;
    }
    for zone in Zone::ALL {
        life::wait_until("every member knows the gateways' database", KNOWN_SECONDS_MAX, || {
            run(lab, Place::Client, Target::Member(zone), (user, user), "SELECT 1", Duration::from_secs(30)).map(drop)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;
    use crate::lab::plan::Zone;

    #[test]
    fn who_leads_and_who_may_take_over_is_read_from_what_patroni_says() {
        let members = parse(&json!({"members": [
            {"name": "geneva", "role": "quorum_standby", "state": "streaming", "timeline": 3, "lag": 16},
            {"name": "gland", "role": "leader", "state": "running", "timeline": 3},
            {"name": "lucerne", "role": "replica", "state": "stopped", "lag": "unknown"},
            {"name": "elsewhere", "role": "replica", "state": "running"},
        ], "scope": "cairn"}));
        let told: Vec<_> = members.iter().map(|member| (member.zone, member.leads(), member.follows(), member.lag)).collect();
        assert_eq!(
            told,
            [(Zone::Geneva, false, true, Some(16)), (Zone::Gland, true, false, None), (Zone::Lucerne, false, false, None)]
        );
        assert!(parse(&json!("no JSON of Patroni's")).is_empty());
    }
}
