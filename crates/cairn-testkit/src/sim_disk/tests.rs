use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use cairn_disk::{Disk, OpenMode};

use super::{Operation, SimDisk};

const FILE: &str = "/zone/file";

async fn written(disk: &SimDisk, sync: bool) -> Vec<u8> {
    let content: Vec<u8> = (0..4096_u32).map(|index| (index % 251 + 1) as u8).collect();
    disk.create_directory(Path::new("/zone")).await.unwrap();
    let file = disk.open(Path::new(FILE), OpenMode::CreateNew).await.unwrap();
    file.write_at(0, &[Bytes::from(vec![0; 4096])]).await.unwrap();
    file.sync_data().await.unwrap();
    disk.sync_directory(Path::new("/zone")).await.unwrap();
    disk.sync_directory(Path::new("/")).await.unwrap();
    file.write_at(0, &[Bytes::from(content.clone())]).await.unwrap();
    if sync {
        file.sync_data().await.unwrap();
    }
    content
}

async fn content(disk: &SimDisk) -> Vec<u8> {
    disk.open(Path::new(FILE), OpenMode::Read).await.unwrap().read_at(0, 1 << 20).await.unwrap().to_vec()
}

#[tokio::test]
async fn synced_bytes_survive_power_loss_and_unsynced_ones_are_lost_kept_or_torn() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let expected = written(&disk, true).await;
        assert_eq!(content(&disk.crash()).await, expected, "seed {seed}");

        let disk = SimDisk::new(seed);
        let expected = written(&disk, false).await;
        let found = content(&disk.crash()).await;
        match found {
            found if found == expected => kept += 1,
            found if found.iter().all(|byte| *byte == 0) => lost += 1,
            found => {
                torn += 1;
                for (number, sector) in found.chunks(512).enumerate() {
                    let whole = &expected[number * 512..(number + 1) * 512];
                    assert!(sector == whole || sector.iter().all(|byte| *byte == 0), "a sector is never torn itself");
                }
            }
        }
    }
    assert!(lost > 10 && kept > 10 && torn > 10, "lost {lost} kept {kept} torn {torn}");
}

#[tokio::test]
async fn kill_keeps_the_page_cache_and_old_handles_fail() {
    let disk = SimDisk::new(7);
    let expected = written(&disk, false).await;
    let held = disk.lock(Path::new("/zone/lock")).await.unwrap();
    assert!(disk.lock(Path::new("/zone/lock")).await.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    let next = disk.kill();
    assert_eq!(content(&next).await, expected);
    assert!(disk.metadata(Path::new(FILE)).await.is_err());
    next.lock(Path::new("/zone/lock")).await.unwrap();
    drop(held);
}

#[tokio::test]
async fn names_need_a_directory_sync() {
    let mut vanished = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        written(&disk, true).await;
        let file = disk.open(Path::new("/zone/new"), OpenMode::CreateNew).await.unwrap();
        file.write_at(0, &[Bytes::from_static(b"x")]).await.unwrap();
        file.sync_data().await.unwrap();
        vanished += usize::from(disk.crash().metadata(Path::new("/zone/new")).await.is_err());
    }
    assert!((10..40).contains(&vanished), "{vanished}");
}

#[tokio::test]
async fn an_ignored_sync_loses_what_it_claimed_to_keep() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        disk.create_directory(Path::new("/zone")).await.unwrap();
        disk.ignore_sync(Path::new(FILE), 1);
        let expected = written(&disk, true).await;
        lost += usize::from(content_or_empty(&disk.crash()).await != expected);
    }
    assert!(lost > 20, "{lost}");
}

async fn content_or_empty(disk: &SimDisk) -> Vec<u8> {
    match disk.open(Path::new(FILE), OpenMode::Read).await {
        Ok(file) => file.read_at(0, 1 << 20).await.unwrap().to_vec(),
        Err(_) => Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn faults_strike_below_their_path_only() {
    let disk = SimDisk::new(1);
    written(&disk, true).await;
    let fault = disk.fail(Path::new("/zone"), &[Operation::Read], ErrorKind::TimedOut, 1);
    let file = disk.open(Path::new(FILE), OpenMode::Write).await.unwrap();
    assert_eq!(file.read_at(0, 1).await.unwrap_err().kind(), ErrorKind::TimedOut);
    disk.lift(fault);
    file.read_at(0, 1).await.unwrap();

    let hang = disk.hang(Path::new("/zone"), &[Operation::Sync]);
    let waiting = tokio::spawn(async move { file.sync_data().await });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    disk.lift(hang);
    waiting.await.unwrap().unwrap();

    disk.set_capacity(Path::new("/zone"), Some(5000));
    let file = disk.open(Path::new("/zone/second"), OpenMode::CreateNew).await.unwrap();
    let full = file.write_at(0, &[Bytes::from(vec![1; 2000])]).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    file.write_at(0, &[Bytes::from(vec![1; 500])]).await.unwrap();
    let elsewhere = disk.open(Path::new("/elsewhere"), OpenMode::CreateNew).await.unwrap();
    elsewhere.write_at(0, &[Bytes::from(vec![1; 9000])]).await.unwrap();
    assert!(disk.is_mount_point(Path::new("/zone")).await.unwrap());
}

#[tokio::test]
async fn a_removed_tree_unlinks_open_files_and_a_backup_brings_them_back() {
    let disk = SimDisk::new(3);
    let expected = written(&disk, true).await;
    let open = disk.open(Path::new(FILE), OpenMode::Write).await.unwrap();
    let backup = disk.backup(Path::new("/zone"));
    disk.remove_tree(Path::new("/zone"));
    assert_eq!(open.metadata().await.unwrap().links, 0);
    open.sync_data().await.unwrap();
    assert!(disk.metadata(Path::new("/zone")).await.is_err());
    disk.restore(Path::new("/zone"), &backup);
    let disk = disk.crash();
    assert_eq!(content(&disk).await, expected);
    assert!(disk.flip_bit(Path::new(FILE), 8 * 100));
    assert_eq!(content(&disk).await[100], expected[100] ^ 1);
}

#[tokio::test]
async fn what_somebody_else_does_in_one_directory_makes_nothing_beside_it_durable() {
    let (mut lost, mut renamed) = (0, 0);
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let expected = written(&disk, false).await;
        disk.restore(Path::new("/other/deep"), &[("file".into(), vec![7])].into());
        disk.mount(Path::new("/mounted"));
        disk.unmount(Path::new("/mounted"));
        let disk = disk.crash();
        lost += usize::from(content_or_empty(&disk).await != expected);
        assert_eq!(disk.files(Path::new("/other")), [("/other/deep/file".into(), 1)]);
        // What is written inside a directory does not make the directory's own name durable.
        disk.write_inside(Path::new("/engine/store"), &[("file".into(), vec![7])].into());
        let disk = disk.crash();
        let names = disk.files(Path::new("/engine"));
        assert!(names.is_empty() || names == [("/engine/store/file".into(), 1)]);
        renamed += usize::from(names.is_empty());
    }
    assert!(lost > 20, "{lost}");
    assert!((10..50).contains(&renamed), "{renamed}");
}
