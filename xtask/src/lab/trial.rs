//! The part `lab` of the test: a lab is brought up, its datacentres are killed, hung and cut off, and it goes without a trace.
//!
//! What it shows is the ground that the tests of Cairn in three datacentres stand on: that a fault is the fault that it says, that an answer
//! can be lost, that a datacentre comes back whole, that nothing is left of a lab whatever ends the command that made it. What stock
//! PostgreSQL, Patroni and SeaweedFS make of it is shown at full size (`--long`). Times are told and not judged, apart from bounds that
//! only a standstill exceeds.

mod remains;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::component::State;
use super::guard::Guard;
use super::life::{self, Lab};
use super::plan::{Name, Place, Zone, ports};
use super::stack::{Programs, Shape, Stack, patroni, seaweedfs};
use super::{database, http, namespaces, status, wire};
use crate::clock;
use crate::steps::{Context, Counts};
use database::Target;
use remains::Run;

/// The round trip between the datacentres of the lab, milliseconds: long enough to be seen.
const ROUND_TRIP_MS: u64 = 20;
/// How long PostgreSQL may take to have another primary, or to be whole again, seconds: past that it stands still.
const STANDSTILL_SECONDS: u64 = 300;
/// How long nothing is heard before that counts as silence, seconds.
const SILENCE_SECONDS: u64 = 2;
/// How long one statement may take before it counts as not answered, seconds.
const ANSWER_SECONDS_MAX: u64 = 10;

/// Runs the scenarios one after the other in one lab.
///
/// # Errors
/// Where the lab does not come up: nothing more can be learnt then.
pub fn run(context: &mut Context<'_>) -> anyhow::Result<Counts> {
    let run = Run::begin()?;
    run.remove_of_others(context)?;
    // Whatever becomes of this process, its labs go.
    let guard = Guard::of(&run.labs()?)?;
    let name = run.lab("gate")?;
    let programs = Programs::below(&context.workspace.tools());
    let logs = context.workspace.logs().join("lab");
    let shape = Shape { round_trip_ms: ROUND_TRIP_MS, ..Shape::default() };
    let lab = bring_up(context, &name, shape, &programs, &logs)?;
    let long = context.long;
    let mut trial = Trial { context, run, lab: Some(lab), counts: Counts::default(), logs };
    trial.check("PostgreSQL has a primary, and commits wait for one of two standbys", Trial::quorum)?;
    trial.check("bytes take their time to another datacentre, and to its own none is added", Trial::delay)?;
    trial.check("each datacentre has a SeaweedFS of its own", Trial::separate_clusters)?;
    trial.check("a COMMIT whose answer is lost is committed, and who asked is not told", Trial::lost_answer)?;
    trial.check("a datacentre cut off: it hears and says nothing, goes on, and its connections outlast it", Trial::cut)?;
    trial.check("a hung datacentre: the others go on, and it comes back with what it held", |trial| trial.away(Fault::Hang))?;
    trial.check("a killed datacentre: the same", |trial| trial.away(Fault::Kill))?;
    if long {
        trial.check(
            "the primary's datacentre cut off: another takes over, and the old one acknowledges nothing",
            Trial::cut_primary,
        )?;
        trial.check("stock SeaweedFS beside it: with a datacentre killed it reads, and writes nothing", Trial::stock)?;
    }
    trial.check("`down` leaves no process, no network, no file", Trial::down)?;
    trial.check("`up` killed in the middle leaves nothing", |trial| trial.killed_up(Killed::Up))?;
    trial.check("`up` killed with its guard leaves nothing that `down` does not remove", |trial| {
        trial.killed_up(Killed::UpAndGuard)
    })?;
    let counts = trial.counts;
    drop(trial);
    drop(guard);
    Ok(counts)
}

fn bring_up(
    context: &mut Context<'_>,
    name: &Name,
    shape: Shape,
    programs: &Programs,
    logs: &std::path::Path,
) -> anyhow::Result<Lab> {
    let mut lines = Vec::new();
    let started = clock::now();
    let lab = Lab::up(name, shape, programs, logs, &mut |line| lines.push(line.to_owned()));
    for line in lines {
        context.say(&line)?;
    }
    context.say(&format!("up after {}", seconds(started.elapsed())))?;
    lab
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Hang,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    Up,
    UpAndGuard,
}

/// Scenarios in one lab.
struct Trial<'trial, 'run> {
    context: &'trial mut Context<'run>,
    run: Run,
    lab: Option<Lab>,
    counts: Counts,
    /// Where logs go of a lab in which something failed.
    logs: PathBuf,
}

impl Drop for Trial<'_, '_> {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take()
            && let Err(error) = life::remove(lab.name())
        {
            eprintln!("{error:#}");
        }
    }
}

impl Trial<'_, '_> {
    fn check(&mut self, what: &str, scenario: impl FnOnce(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let started = clock::now();
        let result = scenario(self);
        let took = started.elapsed().as_secs_f64();
        let failed = u64::from(result.is_err());
        self.counts = self.counts.and(Counts { passed: 1 - failed, failed });
        let Err(error) = result else {
            return self.context.say(&format!("ok     {what} ({took:.1} s)"));
        };
        self.context.say(&format!("FAILED {what} ({took:.1} s): {error:#}"))?;
        if let Some(lab) = &self.lab {
            life::keep_logs(lab.name(), &self.logs)?;
            // So that what comes after begins with a lab that is whole.
            for zone in Zone::ALL {
                lab.heal(zone)?;
            }
            life::wait_until("all is whole", STANDSTILL_SECONDS, || lab.has_quorum())?;
        }
        Ok(())
    }

    fn lab(&self) -> anyhow::Result<&Lab> {
        self.lab.as_ref().context("the lab is gone")
    }

    fn name(&self) -> anyhow::Result<&Name> {
        self.lab().map(Lab::name)
    }

    /// What a statement of the gateways' user answers in their database.
    fn sql(&self, from: Place, target: Target, statement: &str, patience_seconds: u64) -> anyhow::Result<String> {
        let whose = (patroni::USER, patroni::USER);
        database::run(self.name()?, from, target, whose, statement, Duration::from_secs(patience_seconds))
    }

    /// Runs a statement on the primary, asking no other member: a client of PostgreSQL's that is given several ends at one that resets.
    fn commit(&self, statement: &str) -> anyhow::Result<String> {
        let primary = database::primary(self.name()?)?;
        self.sql(Place::Client, Target::Member(primary), statement, ANSWER_SECONDS_MAX)
    }

    /// Where the primary is, once there is one: on a machine that is busy, a leader may lose its claim and take it again.
    fn primary(&self) -> anyhow::Result<Zone> {
        let name = self.name()?;
        let mut primary = None;
        life::wait_until("PostgreSQL has a primary", STANDSTILL_SECONDS, || {
            primary = Some(database::primary(name)?);
            Ok(())
        })?;
        primary.context("there is one")
    }

    fn quorum(&mut self) -> anyhow::Result<()> {
        let lab = self.lab()?;
        life::wait_until("PostgreSQL is whole", STANDSTILL_SECONDS, || lab.has_quorum())?;
        let ask = |statement| self.sql(Place::Client, Target::Primary, statement, ANSWER_SECONDS_MAX);
        // Here, and made before anything is judged: what comes after needs it.
        ask("CREATE TABLE notes (note text PRIMARY KEY)")?;
        let names = ask("SHOW synchronous_standby_names")?;
        ensure!(names.starts_with("ANY 1 ("), "synchronous_standby_names is {names:?}");
        ensure!(ask("SHOW synchronous_commit")? == "on" && ask("SHOW fsync")? == "on", "commits do not wait for disks");
        Ok(())
    }

    fn delay(&mut self) -> anyhow::Result<()> {
        let name = self.name()?;
        let exchange = |to: Zone| -> anyhow::Result<Duration> {
            let started = clock::now();
            http::get(name, Place::Zone(Zone::Geneva), to.at(ports::ETCD), "/version")?;
            Ok(started.elapsed())
        };
        // To connect, and to ask.
        let least = Duration::from_millis(2 * ROUND_TRIP_MS);
        let mut own = Duration::MAX;
        // A busy machine may take as long by itself, but not each time.
        life::wait_until("an exchange within a datacentre is the shorter one", STANDSTILL_SECONDS, || {
            own = exchange(Zone::Geneva)?;
            ensure!(own < least, "it took {own:?}");
            Ok(())
        })?;
        let other = exchange(Zone::Lucerne)?;
        ensure!(other >= least, "an exchange with another datacentre took {other:?}, less than {least:?}");
        let line = format!("       an exchange took {own:?} within a datacentre and {other:?} to another");
        self.context.say(&line)
    }

    fn separate_clusters(&mut self) -> anyhow::Result<()> {
        for zone in Zone::ALL {
            let answer = http::get(self.name()?, Place::Zone(zone), zone.at(ports::MASTER), "/dir/status")?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let known: Vec<&str> =
                Zone::ALL.iter().filter(|other| text.contains(&other.address().to_string())).map(|zone| zone.name()).collect();
            ensure!(known == [zone.name()], "the SeaweedFS of {} knows the servers of {known:?}", zone.name());
        }
        Ok(())
    }

    fn lost_answer(&mut self) -> anyhow::Result<()> {
        let name = self.name()?;
        // From a datacentre whose way to the primary leads through a cable.
        let primary = self.primary()?;
        let from = primary.others().next().map(Place::Zone).context("there are three")?;
        let lost_before: u64 = wire::ask(name, "lost")?.parse()?;
        wire::ask(name, "lose 5432 434f4d4d495400 1")?;
        let asked =
            self.sql(from, Target::Member(primary), "BEGIN; INSERT INTO notes VALUES ('unknown'); COMMIT", ANSWER_SECONDS_MAX);
        ensure!(asked.is_err(), "the COMMIT was answered");
        let lost: u64 = wire::ask(name, "lost")?.parse()?;
        ensure!(lost == lost_before + 1, "{lost} answers were lost");
        let there =
            self.sql(from, Target::Member(primary), "SELECT count(*) FROM notes WHERE note = 'unknown'", ANSWER_SECONDS_MAX)?;
        ensure!(there == "1", "the row is there {there} times");
        Ok(())
    }

    /// Stores some bytes in the SeaweedFS of a datacentre and gives where they are.
    fn store(&self, zone: Zone, bytes: &[u8]) -> anyhow::Result<(u16, String)> {
        let answer = http::get(self.name()?, Place::Zone(zone), zone.at(ports::MASTER), "/dir/assign")?;
        let assigned = answer.json();
        let id = assigned["fid"].as_str().with_context(|| format!("the master assigns nothing: {assigned}"))?;
        let port = assigned["url"].as_str().and_then(|url| url.rsplit_once(':')?.1.parse().ok()).context("no volume server")?;
        let path = format!("/{id}?fsync=true");
        let stored = http::request(self.name()?, Place::Zone(zone), zone.at(port), "PUT", &path, bytes)?;
        ensure!(stored.status == 201, "the volume server answers {}: {}", stored.status, stored.json());
        Ok((port, format!("/{id}")))
    }

    /// A datacentre that holds no primary is cut off, and its cable mended.
    fn cut(&mut self) -> anyhow::Result<()> {
        let (lab, name) = (self.lab()?, self.name()?);
        let primary = self.primary()?;
        let zone = primary.others().next().context("there are three")?;
        let service = zone.at(ports::ETCD);
        let mut connection = http::Connection::open(name, Place::Client, service)?;
        let before = connection.exchange("/version", STANDSTILL_SECONDS)?;
        lab.cut(zone)?;
        let began = clock::now();
        let committed_after = Self::retry(began, || self.commit("INSERT INTO notes VALUES ('cut') ON CONFLICT DO NOTHING"))?;
        let ways = [(Place::Client, service), (Place::Zone(primary), service), (Place::Zone(zone), primary.at(ports::ETCD))];
        let answers = std::thread::scope(|scope| {
            ways.map(|(from, to)| scope.spawn(move || http::get(name, from, to, "/version")))
                .map(|asked| asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        for ((from, to), answer) in ways.into_iter().zip(answers) {
            let Err(asked) = answer else { bail!("from {} {to} still answers", from.name()) };
            ensure!(http::is_silence(&asked), "from {} {to} is not silent: {asked:#}", from.name());
        }
        let Err(asked) = connection.exchange("/version", SILENCE_SECONDS) else { bail!("a connection still carries") };
        ensure!(http::is_silence(&asked), "the cut has ended a connection: {asked:#}");
        let own = http::get(name, Place::Zone(zone), service, "/version")?;
        ensure!(own.status == 200, "{} does not go on: it answers itself {}", zone.name(), own.status);
        ensure!(lab.at_fault(zone).is_empty(), "something in {} does not run", zone.name());
        life::wait_until("etcd alone does not decide", STANDSTILL_SECONDS, || {
            ensure!(!database::etcd_decides(name, zone), "it does");
            Ok(())
        })?;
        let told = status::look(lab)?;
        ensure!(told.of(zone, "network") == Some("cut") && told.of(primary, "network") == Some("up"), "status says otherwise");
        let lasted = began.elapsed();
        lab.heal(zone)?;
        let healed = clock::now();
        // What was asked while it was cut off is answered now.
        let after = connection.read(STANDSTILL_SECONDS)?;
        ensure!(after == before, "{} answers {:?} and not {:?}", zone.name(), after, before);
        let answered_after = healed.elapsed();
        life::wait_until("PostgreSQL is whole", STANDSTILL_SECONDS, || lab.has_quorum())?;
        let line = format!(
            "       {} cut off for {}: PostgreSQL committed after {}; mended: what was asked before was answered after {}, PostgreSQL whole after {}",
            zone.name(),
            seconds(lasted),
            seconds(committed_after),
            seconds(answered_after),
            seconds(healed.elapsed()),
        );
        self.context.say(&line)
    }

    /// A datacentre that holds no primary goes away and comes back.
    fn away(&mut self, fault: Fault) -> anyhow::Result<()> {
        let (lab, name) = (self.lab()?, self.name()?);
        let primary = self.primary()?;
        let zone = primary.others().last().context("there are three")?;
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| (number % 241) as u8).collect();
        let mut stored = None;
        Self::retry(clock::now(), || {
            stored = Some(self.store(zone, &bytes)?);
            Ok(())
        })?;
        let (port, path) = stored.context("it is stored")?;
        let (word, processes) = match fault {
            Fault::Kill => ("down", lab.kill(zone, None)?),
            Fault::Hang => ("hung", lab.hang(zone, None)?),
        };
        ensure!(processes >= 4, "only {processes} processes were there");
        let began = clock::now();
        ensure!(lab.at_fault(zone).len() == 4, "something still runs in {}", zone.name());
        ensure!(lab.at_fault(primary).is_empty(), "the fault has reached {}", primary.name());
        for other in zone.others() {
            Self::retry(began, || self.store(other, b"meanwhile"))
                .with_context(|| format!("the SeaweedFS of {}", other.name()))?;
        }
        let stored_after = began.elapsed();
        // An attempt that was not answered may have committed.
        let statement = format!("INSERT INTO notes VALUES ('while {} is {word}') ON CONFLICT DO NOTHING", zone.name());
        let committed_after = Self::retry(began, || self.commit(&statement))?;
        let Err(asked) = http::get(name, Place::Client, zone.at(port), &path) else { bail!("{} still answers", zone.name()) };
        ensure!(
            http::is_silence(&asked) == (fault == Fault::Hang),
            "{} is {word}, and one who asks finds: {asked:#}",
            zone.name()
        );
        let told = status::look(lab)?;
        ensure!(
            told.of(zone, patroni::NAME) == Some(word) && told.of(zone, seaweedfs::MASTER) == Some(word),
            "status says otherwise"
        );
        ensure!(
            told.of(primary, seaweedfs::MASTER).is_some_and(|told| told.starts_with("up")),
            "status says otherwise of {}",
            primary.name()
        );
        lab.heal(zone)?;
        let healed = clock::now();
        life::wait_until("SeaweedFS is whole", STANDSTILL_SECONDS, || lab.has_volume_servers(zone))?;
        life::wait_until("the chunk is back", STANDSTILL_SECONDS, || {
            let answer = http::get(name, Place::Client, zone.at(port), &path)?;
            ensure!(answer.status == 200 && answer.body == bytes, "{} answers {}", zone.name(), answer.status);
            Ok(())
        })?;
        let whole = healed.elapsed();
        life::wait_until("PostgreSQL is whole", STANDSTILL_SECONDS, || lab.has_quorum())?;
        ensure!(lab.at_fault(zone).iter().all(|(_, state)| *state == State::Running), "not everything runs again");
        let line = format!(
            "       {} {word}: the others stored a chunk each after {} and PostgreSQL committed after {}; back: SeaweedFS whole after {}, PostgreSQL after {}",
            zone.name(),
            seconds(stored_after),
            seconds(committed_after),
            seconds(whole),
            seconds(healed.elapsed()),
        );
        self.context.say(&line)
    }

    /// Tries until something succeeds; says how long after `began` that was.
    fn retry<T>(began: Instant, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Duration> {
        life::wait_until("it succeeds", STANDSTILL_SECONDS, || attempt().map(drop))?;
        Ok(began.elapsed())
    }

    fn cut_primary(&mut self) -> anyhow::Result<()> {
        let (lab, name) = (self.lab()?, self.name()?);
        let old = self.primary()?;
        let timeline = |zone: Zone| -> anyhow::Result<Option<u64>> {
            Ok(database::members(name)?.into_iter().find(|member| member.zone == zone).and_then(|member| member.timeline))
        };
        let old_timeline = timeline(old)?;
        self.sql(Place::Client, Target::Primary, "INSERT INTO notes VALUES ('before')", ANSWER_SECONDS_MAX)?;
        lab.cut(old)?;
        let began = clock::now();
        ensure!(
            http::get(name, Place::Client, old.at(ports::PATRONI), "/").is_err()
                && http::get(name, Place::Zone(old), old.others().next().context("there are three")?.at(ports::ETCD), "/version")
                    .is_err(),
            "{} is cut off and is still heard",
            old.name()
        );
        // Asked within its own datacentre from the first moment on, for longer than the hand-over takes.
        let (led_after, written_after, acknowledged) = std::thread::scope(|scope| -> anyhow::Result<_> {
            let this = &*self;
            let isolated = scope.spawn(move || {
                let mut acknowledged = Vec::new();
                for attempt in 0.. {
                    let statement = format!("INSERT INTO notes VALUES ('isolated {attempt}')");
                    if let Ok(answer) = this.sql(Place::Zone(old), Target::Member(old), &statement, 20) {
                        acknowledged.push((attempt, answer));
                    }
                    if began.elapsed() > Duration::from_secs(patroni::LEADER_SECONDS + 10) {
                        break;
                    }
                }
                acknowledged
            });
            let led = Self::retry(began, || {
                let now = database::primary(name)?;
                ensure!(now != old, "{} still leads", old.name());
                Ok(())
            })?;
            let written = Self::retry(began, || {
                let note = format!("after {}", began.elapsed().as_nanos());
                self.sql(Place::Client, Target::Primary, &format!("INSERT INTO notes VALUES ('{note}')"), ANSWER_SECONDS_MAX)
            })?;
            Ok((led, written, isolated.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        })?;
        ensure!(acknowledged.is_empty(), "{}, cut off, has acknowledged {acknowledged:?}", old.name());
        let new = self.primary()?;
        lab.heal(old)?;
        let healed = clock::now();
        life::wait_until("PostgreSQL is whole", STANDSTILL_SECONDS, || lab.has_quorum())?;
        let back_after = healed.elapsed();
        let now = self.primary()?;
        ensure!(timeline(old)? == timeline(now)? && timeline(now)? > old_timeline, "{} is on another timeline", old.name());
        for zone in Zone::ALL {
            let count = |like: &str| {
                self.sql(
                    Place::Client,
                    Target::Member(zone),
                    &format!("SELECT count(*) FROM notes WHERE note LIKE '{like}'"),
                    ANSWER_SECONDS_MAX,
                )
            };
            life::wait_until("a standby has read what was written", STANDSTILL_SECONDS, || {
                ensure!(count("before")? == "1" && count("after %")? != "0", "{} lacks acknowledged rows", zone.name());
                Ok(())
            })?;
            ensure!(count("isolated %")? == "0", "{} has rows that nobody acknowledged to anyone", zone.name());
        }
        let line = format!(
            "       {} cut off: {} led after {}, the first write through it after {}; mended: {} followed it after {}",
            old.name(),
            new.name(),
            seconds(led_after),
            seconds(written_after),
            old.name(),
            seconds(back_after),
        );
        self.context.say(&line)
    }

    fn down(&mut self) -> anyhow::Result<()> {
        // Where this fails there is no lab any more in which something else could be tried; the guard removes what is left.
        let lab = self.lab.take().context("the lab is gone")?;
        let name = lab.name();
        let removed = life::remove(name)?;
        ensure!(removed.processes > 12 && removed.namespaces == 8 && removed.directory, "that was not all of it: {removed:?}");
        remains::none(name)?;
        ensure!(life::remove(name)? == life::Removed::default(), "there was still something");
        Ok(())
    }

    /// An `up` that is killed when it has come as far as PostgreSQL.
    fn killed_up(&mut self, killed: Killed) -> anyhow::Result<()> {
        let name = self.run.lab("kill")?;
        // Killed with this process, too: what this process's guard removes must not be made at the same time.
        let mut command = std::process::Command::new("setpriv");
        command
            .current_dir(self.context.workspace.root())
            .args(["--pdeathsig", "KILL", "--"])
            .arg(crate::process::own_program())
            .args(["lab", "--name", &name.to_string(), "up"]);
        let mut up = crate::process::Running::start(&mut command, crate::process::Streams::to_log(&self.context.log)?)?;
        let started = clock::now();
        // The cables, etcd and SeaweedFS run by then.
        while namespaces::processes(&name.namespace(Place::Zone(Zone::Lucerne)))?.len() < 4 {
            if let Some(status) = up.ended()? {
                bail!("`up` ended by itself with {status}");
            }
            ensure!(started.elapsed() < Duration::from_secs(STANDSTILL_SECONDS), "it does not come as far as PostgreSQL");
            std::thread::sleep(Duration::from_millis(20));
        }
        if killed == Killed::Up {
            drop(up);
            life::wait_until("nothing is left", STANDSTILL_SECONDS, || remains::none(&name))?;
            return Ok(());
        }
        remains::kill_guard(&name)?;
        drop(up);
        let removed = life::remove(&name)?;
        ensure!(removed.processes >= 10 && removed.namespaces == 8 && removed.directory, "that was not all of it: {removed:?}");
        remains::none(&name)
    }

    fn stock(&mut self) -> anyhow::Result<()> {
        // Beside the other: their addresses do not meet.
        let name = self.run.lab("stock")?;
        let programs = Programs::below(&self.context.workspace.tools());
        let shape = Shape { stack: Stack::SeaweedFs, ..Shape::default() };
        let logs = self.logs.with_file_name("lab-stock");
        let lab = bring_up(self.context, &name, shape, &programs, &logs)?;
        let result = Self::stock_in(&lab);
        life::remove(&name)?;
        result?;
        remains::none(&name)
    }

    fn stock_in(lab: &Lab) -> anyhow::Result<()> {
        let filer = Zone::Geneva.at(ports::FILER);
        let put = |path: &str| http::request(lab.name(), Place::Client, filer, "PUT", path, b"three copies");
        let before = put("/notes/before")?;
        ensure!(before.status == 201, "with all datacentres there a PUT is answered {}", before.status);
        // Not one whose loss takes the leader of the masters along: that is another story.
        let told = status::look(lab)?;
        let zone = Zone::ALL
            .into_iter()
            .skip(1)
            .find(|zone| told.of(*zone, seaweedfs::MASTER) == Some("up"))
            .context("no master follows another")?;
        lab.kill(zone, None)?;
        // Until the master has noticed, it may still name the volume server that is gone; either way nothing is stored.
        for attempt in 0..5 {
            let status = put(&format!("/notes/during-{attempt}")).map(|answer| answer.status);
            ensure!(
                !status.as_ref().is_ok_and(|status| *status < 300),
                "with {} killed a PUT is answered {status:?}",
                zone.name()
            );
        }
        let read = http::get(lab.name(), Place::Client, filer, "/notes/before")?;
        ensure!(
            read.status == 200 && read.body == b"three copies",
            "with {} killed a GET is answered {}",
            zone.name(),
            read.status
        );
        Ok(())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
