//! Schedules that random ones rarely meet, each the reason of a rule; and each rule taken out to see the loss it prevents.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::log::batch::{FileHeader, FrameHeader};
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_catalog::embedded::log::replicated::StartError;
use cairn_catalog::embedded::log::rules::{Rule, take_out};
use cairn_testkit::sim_disk::{FaultId, Operation};
use cairn_testkit::sim_environment::simulate;

use crate::world::{Life, World, append, path};

const ALL: [Operation; 5] = [Operation::Lookup, Operation::Name, Operation::Read, Operation::Write, Operation::Sync];

fn away(world: &World, zone: usize) -> FaultId {
    world.disk.fail(&path(zone), &ALL, ErrorKind::TimedOut, 1)
}

async fn start(world: &mut World) -> Life {
    world.start().await.unwrap_or_else(|error| panic!("{error}"))
}

async fn all_vote(life: &Life) {
    for zone in life.store.zones() {
        let mut zone = zone.clone();
        zone.wait_for(|status| status.phase == ZonePhase::Voting).await.unwrap();
    }
}

async fn some_appends(world: &World, life: &Life, count: u32) {
    for number in 0..count {
        append(&life.store, &world.told, (number % 3) as u8).await;
    }
}

/// Runs the schedule with the rule and expects it to hold, then without and expects the loss.
fn with_and_without<F: Future<Output = Result<(), String>>>(rule: Rule, schedule: impl Fn() -> F) {
    assert_eq!(simulate(schedule()), Ok(()));
    take_out(Some(rule));
    let without = simulate(schedule());
    take_out(None);
    assert!(without.is_err(), "nothing was lost without {rule:?}");
}

/// L7: a zone put back to an older state must not vote when the only zone that knows more is away.
#[test]
fn a_zone_restored_from_an_old_backup_does_not_vote() {
    with_and_without(Rule::L7, || async {
        let mut world = World::new(1);
        let life = start(&mut world).await;
        all_vote(&life).await;
        some_appends(&world, &life, 10).await;
        life.store.stop().await;
        world.end(life, true).await;
        let backup = world.disk.backup(&path(2));

        // Lucerne takes part in much more; Geneva hears of it, then falls asleep before the last acknowledgements.
        let life = start(&mut world).await;
        all_vote(&life).await;
        some_appends(&world, &life, 10).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let geneva = away(&world, 0);
        some_appends(&world, &life, 10).await;
        world.end(life, true).await;
        world.disk.restore(&path(2), &backup);

        // Gland, which knows everything, is away now.
        world.disk.lift(geneva);
        let gland = away(&world, 1);
        match world.start().await {
            Ok(life) => {
                world.check(&life).await?;
                world.end(life, false).await;
            }
            Err(StartError::Refused(refusal)) => {
                let words = refusal.to_string();
                assert!(words.contains("lucerne: has lost its memory: its log ends with batch"), "{words}");
            }
            Err(error) => return Err(error.to_string()),
        }
        world.disk = world.disk.kill();
        world.disk.lift(gland);
        let life = world.start().await.map_err(|error| error.to_string())?;
        world.check(&life).await?;
        world.converge(&life).await
    });
}

/// L5: rot in what a zone answered for is damage and costs its vote; taken for a torn tail it would cost what was acknowledged.
#[test]
fn rot_near_the_end_of_a_log_is_not_a_torn_tail() {
    with_and_without(Rule::L5, || async {
        let mut world = World::new(10);
        let life = start(&mut world).await;
        all_vote(&life).await;
        some_appends(&world, &life, 5).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Geneva and Gland acknowledge what Lucerne does not hear of, and an empty batch says that it is durable.
        let lucerne = away(&world, 2);
        append(&life.store, &world.told, 0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.end(life, false).await;
        let (file, frames) = frames(&world, 0);
        world.disk.flip_bit(&file, (frames[frames.len() - 2] + 100) * 8);
        world.disk.lift(lucerne);
        let gland = away(&world, 1);
        match world.start().await {
            Ok(life) => {
                world.check(&life).await?;
                world.end(life, false).await;
            }
            Err(StartError::Refused(refusal)) => {
                let words = refusal.to_string();
                assert!(words.contains("geneva: has no vote: the log in"), "{words}");
            }
            Err(error) => return Err(error.to_string()),
        }
        world.disk = world.disk.kill();
        world.disk.lift(gland);
        let life = world.start().await.map_err(|error| error.to_string())?;
        world.check(&life).await?;
        world.converge(&life).await
    });
}

/// The zone's newest log file, and where its frames start.
fn frames(world: &World, zone: usize) -> (PathBuf, Vec<u64>) {
    let files = world.disk.backup(&path(zone)).into_iter();
    let mut logs = files.filter(|(name, _)| name.extension().is_some_and(|extension| extension == "log"));
    let (name, content) = logs.next_back().unwrap();
    let content = Bytes::from(content);
    let nonce = FileHeader::decode(&content).unwrap().nonce;
    let starts = (4096..content.len()).step_by(512).filter(|offset| FrameHeader::decode(&content[*offset..], nonce).is_some());
    (path(zone).join(name), starts.map(|offset| offset as u64).collect())
}

/// L6: a zone whose directory is gone does not count, although its open files still take writes and syncs.
#[test]
fn a_removed_zone_does_not_count_for_the_quorum() {
    with_and_without(Rule::L6, || async {
        let mut world = World::new(9);
        let life = start(&mut world).await;
        all_vote(&life).await;
        append(&life.store, &world.told, 0).await;
        let before = world.acknowledged();
        let gland = world.disk.hang(&path(1), &ALL);
        world.wipe(0);
        append(&life.store, &world.told, 0).await;
        if world.acknowledged() != before {
            return Err("acknowledged with one zone only".to_owned());
        }
        world.disk.lift(gland);
        world.converge(&life).await
    });
}

/// L2: two starts must not use one epoch. The first writes its epoch's batch in one zone only; the second does not see that zone.
#[test]
fn an_epoch_is_never_used_twice() {
    with_and_without(Rule::L2, || async {
        let mut failed = Ok(());
        for operations in 1..400 {
            let mut world = World::new(2);
            let life = start(&mut world).await;
            all_vote(&life).await;
            some_appends(&world, &life, 5).await;
            world.end(life, true).await;

            // A start without Lucerne that ends somewhere on its way: Geneva may be ahead of Gland.
            let lucerne = away(&world, 2);
            world.disk.crash_after(operations);
            let started = tokio::time::timeout(Duration::from_secs(2), world.start()).await;
            let was_alive = world.disk.is_alive();
            if let Ok(Ok(life)) = started {
                world.end(life, true).await;
            }
            world.disk.cancel_crash();
            world.disk = if was_alive { world.disk.kill() } else { world.disk.boot() };
            world.disk.lift(lucerne);

            // A start without Geneva acknowledges, under an epoch of which Geneva holds nothing.
            let used = world.batches(0).iter().map(|position| position.epoch).max();
            let geneva = away(&world, 0);
            let life = start(&mut world).await;
            if Some(life.store.epoch()) <= used {
                failed = Err(format!("after {operations} operations: epoch {} is used twice", life.store.epoch()));
            }
            append(&life.store, &world.told, 0).await;
            world.end(life, true).await;
            world.disk.lift(geneva);
            let life = start(&mut world).await;
            world.check(&life).await?;
            world.end(life, true).await;
            if failed.is_err() {
                break;
            }
        }
        failed
    });
}

/// A batch durable in one zone only before a crash, that zone away, new writes, then back: the new history wins.
#[test]
fn a_batch_of_one_zone_only_gives_way_to_what_was_acknowledged_without_it() {
    simulate(async {
        let mut world = World::new(3);
        let life = start(&mut world).await;
        all_vote(&life).await;
        some_appends(&world, &life, 5).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Only Geneva writes now.
        let others = [1, 2].map(|zone| world.disk.hang(&path(zone), &[Operation::Write]));
        append(&life.store, &world.told, 0).await;
        world.end(life, true).await;
        for fault in others {
            world.disk.lift(fault);
        }
        let geneva = away(&world, 0);
        let life = start(&mut world).await;
        some_appends(&world, &life, 20).await;
        world.disk.lift(geneva);
        all_vote(&life).await;
        world.check(&life).await.unwrap();
        world.converge(&life).await.unwrap();
    });
}

/// L8: both zones that say formed are lost, the third must not start afresh.
#[test]
fn a_store_whose_other_zones_are_lost_is_not_formed_anew() {
    simulate(async {
        let mut world = World::new(4);
        let life = start(&mut world).await;
        append(&life.store, &world.told, 0).await;
        world.end(life, true).await;
        world.wipe(0);
        world.wipe(1);
        let before = world.disk.backup(&path(2));
        let words = world.start().await.err().unwrap().to_string();
        assert!(words.contains("needs two zones that can vote, and 1 can. Nothing was changed."), "{words}");
        assert!(words.contains("geneva: empty"), "{words}");
        assert!(world.disk.backup(&path(2)) == before, "a refused start changed something");
        assert!(world.disk.files(&path(0)).is_empty());
    });
}

/// L8: forming may end at any moment and is finished by the next start; what was acknowledged then survives the loss of any one zone.
#[test]
fn forming_ends_at_any_moment_and_is_finished() {
    simulate(async {
        for operations in 1..150 {
            let mut world = World::new(operations);
            world.disk.crash_after(operations);
            if let Ok(life) = world.start().await {
                world.end(life, true).await;
            } else {
                world.disk = world.disk.boot();
            }
            world.disk.cancel_crash();
            let life = start(&mut world).await;
            append(&life.store, &world.told, 0).await;
            world.end(life, true).await;
            world.wipe((operations % 3) as usize);
            let life = start(&mut world).await;
            world.check(&life).await.unwrap();
            world.converge(&life).await.unwrap();
            world.end(life, true).await;
        }
    });
}

/// L9: an unmounted zone is refused, not rebuilt on its parent's file system, and joins again once it is mounted.
#[test]
fn a_zone_off_its_mount_is_refused() {
    with_and_without(Rule::L9, || async {
        let mut world = World::new(5);
        world.disk.mount(&path(2));
        let life = start(&mut world).await;
        all_vote(&life).await;
        append(&life.store, &world.told, 0).await;
        life.store.stop().await;
        world.end(life, true).await;
        let mounted = world.disk.backup(&path(2));
        world.disk.unmount(&path(2));
        let life = start(&mut world).await;
        append(&life.store, &world.told, 0).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let phase = life.store.zones()[2].borrow().phase.clone();
        if !matches!(&phase, ZonePhase::Refused(reason) if reason.contains("is not mounted")) {
            return Err(format!("{phase:?}"));
        }
        assert!(world.disk.files(&path(2)).is_empty(), "nothing was written on the parent's file system");
        world.disk.mount(&path(2));
        world.disk.restore(&path(2), &mounted);
        world.converge(&life).await
    });
}

/// L9: another store's zone, and a zone in another's place, are left alone while the store serves from the other two or not at all.
#[test]
fn zones_of_another_store_and_swapped_ones_are_left_alone() {
    simulate(async {
        let mut other = World::new(6);
        let life = start(&mut other).await;
        append(&life.store, &other.told, 0).await;
        other.end(life, true).await;
        let foreign = other.disk.backup(&path(1));

        let mut world = World::new(7);
        let life = start(&mut world).await;
        all_vote(&life).await;
        append(&life.store, &world.told, 0).await;
        world.end(life, true).await;
        let own: Vec<_> = (0..3).map(|zone| world.disk.backup(&path(zone))).collect();

        world.disk.restore(&path(1), &foreign);
        let life = start(&mut world).await;
        append(&life.store, &world.told, 0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let phase = life.store.zones()[1].borrow().phase.clone();
        assert!(matches!(&phase, ZonePhase::Refused(reason) if reason.contains("another store")), "{phase:?}");
        assert!(world.disk.backup(&path(1)) == foreign, "a zone of another store was touched");
        world.end(life, true).await;

        let newer = world.disk.backup(&path(0));
        world.disk.restore(&path(0), &own[1]);
        world.disk.restore(&path(1), &newer);
        let words = world.start().await.err().unwrap().to_string();
        assert!(words.contains("geneva: refused: it holds the zone gland, not geneva: were directories swapped?"), "{words}");
        assert!(words.contains("Nothing was changed."), "{words}");
        world.disk = world.disk.kill();
        world.disk.restore(&path(0), &newer);
        world.disk.restore(&path(1), &own[1]);
        let life = start(&mut world).await;
        world.check(&life).await.unwrap();
        world.converge(&life).await.unwrap();
    });
}

/// L10: a second process on the same directories is kept out.
#[test]
fn a_second_process_is_kept_out() {
    simulate(async {
        let mut world = World::new(8);
        let life = start(&mut world).await;
        all_vote(&life).await;
        let second = world.start().await.err().unwrap().to_string();
        assert!(second.contains("Nothing was changed."), "{second}");
        append(&life.store, &world.told, 0).await;
        world.check(&life).await.unwrap();
    });
}
