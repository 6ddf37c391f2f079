//! How a lab is: each component of each datacentre, asked from inside its datacentre, so that one that is cut off is told from one that is
//! dead.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::component::{Component, Home, State};
use super::database::{self, Member};
use super::life::Lab;
use super::plan::{Place, Zone, ports};
use super::stack::{Stack, balancer, etcd, gateway, patroni, seaweedfs};
use super::{http, namespaces, wire};

/// How wide a column is at least, characters.
const COLUMN: usize = 26;

/// How a lab is.
pub struct Status {
    /// One row a kind of component: what it is called, and how it is in each datacentre.
    rows: Vec<(String, [String; 3])>,
    /// What is of no datacentre.
    others: Vec<(String, String)>,
}

/// Looks at everything.
///
/// # Errors
/// Where the lab is not there.
pub fn look(lab: &Lab) -> anyhow::Result<Status> {
    let mut rows: Vec<(String, [String; 3])> = Vec::new();
    let mut networks = Vec::new();
    for zone in Zone::ALL {
        let is_cut = namespaces::is_cut(lab.name(), Place::Zone(zone))?;
        networks.push(if is_cut { "cut".to_owned() } else { "up".to_owned() });
    }
    rows.push(("network".to_owned(), three(networks)));
    let members = if lab.shape().has_postgresql() { database::members(lab.name()).ok() } else { None };
    let mut names: Vec<&str> = Vec::new();
    for component in lab.components() {
        if matches!(component.home, Home::Zone(_)) && !names.contains(&component.name.as_str()) {
            names.push(&component.name);
        }
    }
    // The answers of nine datacentres' worth of services at once take as long as the slowest.
    for name in names {
        let cells: Vec<String> = std::thread::scope(|scope| {
            let asking = Zone::ALL.map(|zone| {
                let members = members.as_deref();
                scope.spawn(move || cell(lab, zone, name, members))
            });
            asking.into_iter().map(|asked| asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        rows.push((name.to_owned(), three(cells)));
    }
    let mut others = Vec::new();
    for component in lab.components().iter().filter(|component| !matches!(component.home, Home::Zone(_))) {
        let told = match component.state(lab.name()) {
            State::Running if component.name == balancer::NAME => of_balancer(lab),
            State::Running => match wire::ask(lab.name(), "lost").as_deref() {
                Ok("0") => "up".to_owned(),
                Ok(lost) => format!("up, {lost} answers lost on request"),
                Err(_) => "does not answer".to_owned(),
            },
            state => word(state).to_owned(),
        };
        others.push((component.name.clone(), told));
    }
    Ok(Status { rows, others })
}

fn cell(lab: &Lab, zone: Zone, name: &str, members: Option<&[Member]>) -> String {
    let Some(component) = lab.component(zone, name) else {
        return "none".to_owned();
    };
    match component.state(lab.name()) {
        State::Running => of_running(lab, zone, component, members),
        state => word(state).to_owned(),
    }
}

fn of_running(lab: &Lab, zone: Zone, component: &Component, members: Option<&[Member]>) -> String {
    let asked = |port: u16, path: &str| http::get(lab.name(), Place::Zone(zone), zone.at(port), path);
    match component.name.as_str() {
        etcd::NAME if database::etcd_decides(lab.name(), zone) => "up".to_owned(),
        etcd::NAME => "up, cannot decide alone".to_owned(),
        patroni::NAME => of_member(asked(ports::PATRONI, "/patroni").ok().map(|answer| answer.json()), members, zone),
        seaweedfs::MASTER => match asked(ports::MASTER, "/cluster/status") {
            Ok(answer) if answer.json()["IsLeader"] == json!(true) => "up, leads".to_owned(),
            Ok(answer) if answer.status == 200 => "up".to_owned(),
            Ok(answer) => format!("answers {}", answer.status),
            Err(_) => "does not answer".to_owned(),
        },
        gateway::NAME => match asked(ports::ADMIN, "/readyz") {
            Ok(answer) if answer.status == 200 => "ready".to_owned(),
            Ok(_) => "not ready".to_owned(),
            Err(_) => "does not answer".to_owned(),
        },
        _ => "up".to_owned(),
    }
}

/// What a member of PostgreSQL says of itself, beside what the cluster says of it.
fn of_member(own: Option<Value>, members: Option<&[Member]>, zone: Zone) -> String {
    let Some(own) = own else { return "does not answer".to_owned() };
    let member = members.and_then(|members| members.iter().find(|member| member.zone == zone));
    let state = own["state"].as_str().unwrap_or("unknown");
    match member {
        Some(member) if member.leads() => format!("leader, timeline {}", member.timeline.unwrap_or_default()),
        Some(member) if member.follows() => format!("standby in quorum, lag {} B", member.lag.unwrap_or_default()),
        Some(member) => format!("{}, {state}", member.role.replace('_', " ")),
        None => format!("no leader known, {state}"),
    }
}

fn of_balancer(lab: &Lab) -> String {
    match balancer::servers(lab.name()) {
        Ok(servers) => {
            let told: Vec<String> =
                servers.iter().map(|(zone, status)| format!("{} {}", zone.name(), status.to_lowercase())).collect();
            format!("up; gateways: {}", told.join(", "))
        }
        Err(_) => "does not answer".to_owned(),
    }
}

const fn word(state: State) -> &'static str {
    match state {
        State::Running => "up",
        State::Hung => "hung",
        State::Down => "down",
    }
}

fn three(cells: Vec<String>) -> [String; 3] {
    <[String; 3]>::try_from(cells).unwrap_or_default()
}

impl Status {
    /// How a component is in a datacentre, in words.
    pub fn of(&self, zone: Zone, component: &str) -> Option<&str> {
        let at = Zone::ALL.iter().position(|other| *other == zone)?;
        let (_, cells) = self.rows.iter().find(|(name, _)| name == component)?;
        cells.get(at).map(String::as_str)
    }

    /// As a table.
    pub fn table(&self, lab: &Lab) -> String {
        let mut table = format!("lab {}: {}\n\n", lab.name(), lab.shape().stack.title());
        let widths =
            [0, 1, 2].map(|at| self.rows.iter().map(|(_, cells)| cells[at].chars().count()).max().unwrap_or(0).max(COLUMN));
        let mut line = |name: &str, cells: [&str; 3]| {
            let mut text = format!("{name:<20}");
            for (cell, width) in cells.iter().zip(widths) {
                let _ = write!(text, "  {cell:<width$}");
            }
            let _ = writeln!(table, "{}", text.trim_end());
        };
        line("", Zone::ALL.map(Zone::name));
        for (name, cells) in &self.rows {
            line(name, [&cells[0], &cells[1], &cells[2]]);
        }
        table.push('\n');
        for (name, told) in &self.others {
            let _ = writeln!(table, "{name:<20}  {told}");
        }
        if lab.shape().stack == Stack::Cairn && !lab.shape().speaks_s3() {
            let _ = writeln!(table, "{:<20}  none: there is nothing that speaks S3", gateway::NAME);
        }
        table
    }

    /// As JSON, for scripts.
    pub fn json(&self, lab: &Lab) -> Value {
        let zones: serde_json::Map<String, Value> = Zone::ALL
            .into_iter()
            .map(|zone| {
                let of_zone: serde_json::Map<String, Value> =
                    self.rows.iter().map(|(name, _)| (name.clone(), json!(self.of(zone, name)))).collect();
                (zone.name().to_owned(), Value::Object(of_zone))
            })
            .collect();
        let others: serde_json::Map<String, Value> = self.others.iter().map(|(name, told)| (name.clone(), json!(told))).collect();
        json!({"name": lab.name().to_string(), "zones": zones, "others": others})
    }
}
