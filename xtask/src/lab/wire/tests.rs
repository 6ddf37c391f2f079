use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{Settings, from_hex, join};

/// A client, and a server at the other end of a cable.
async fn connected(settings: &Arc<Settings>, port: u16) -> (TcpStream, TcpStream) {
    let near_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let far_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(near_listener.local_addr().expect("an address")).await.expect("a connection");
    let (near, _) = near_listener.accept().await.expect("a connection");
    let far = TcpStream::connect(far_listener.local_addr().expect("an address")).await.expect("a connection");
    let (server, _) = far_listener.accept().await.expect("a connection");
    let settings = settings.clone();
    tokio::spawn(async move { join(near, far, port, &settings).await });
    (client, server)
}

fn settings(round_trip_ms: u64) -> Arc<Settings> {
    let settings = Arc::new(Settings::default());
    settings.set_round_trip(round_trip_ms).expect("a round trip");
    settings
}

#[tokio::test]
async fn an_answer_takes_a_round_trip_at_least() {
    let (mut client, mut server) = connected(&settings(200), 1).await;
    let before = Instant::now();
    client.write_all(b"ping").await.expect("sent");
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.expect("received");
    let there = before.elapsed();
    server.write_all(&bytes).await.expect("sent");
    client.read_exact(&mut bytes).await.expect("received");
    assert_eq!(&bytes, b"ping");
    assert!(there >= Duration::from_millis(100), "{there:?}");
    assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
}

#[tokio::test]
async fn many_bytes_arrive_in_order_and_the_end_of_one_direction_leaves_the_other() {
    let (mut client, mut server) = connected(&settings(2), 1).await;
    let sent: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.expect("sent");
        client.shutdown().await.expect("closed");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.expect("an answer");
        answer
    });
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.expect("received");
    assert!(received == expected, "{} bytes arrived", received.len());
    server.write_all(b"after the end").await.expect("sent");
    drop(server);
    assert_eq!(sending.await.expect("no panic"), b"after the end");
}

#[tokio::test]
async fn a_reset_is_one_at_the_other_end() {
    let (client, mut server) = connected(&settings(2), 1).await;
    super::reset(&client);
    drop(client);
    let ended = server.read(&mut [0; 1]).await;
    assert_eq!(ended.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn an_answer_is_lost_as_often_as_it_was_asked_and_its_request_arrives() {
    let settings = settings(0);
    // The tag of a COMMIT, as PostgreSQL answers it.
    settings.obey("lose 7 434f4d4d495400 1").expect("obeyed");
    assert_eq!(from_hex("434f4d4d495400").expect("bytes"), b"COMMIT\0");
    let (mut client, mut server) = connected(&settings, 7).await;
    client.write_all(b"BEGIN; COMMIT").await.expect("sent");
    let mut request = [0; 13];
    server.read_exact(&mut request).await.expect("received");
    server.write_all(b"BEGIN\0").await.expect("sent");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.expect("an answer");
    // In two pieces, as may happen.
    server.write_all(b"COM").await.expect("sent");
    server.flush().await.expect("sent");
    let mut piece = [0; 3];
    client.read_exact(&mut piece).await.expect("a piece");
    server.write_all(b"MIT\0").await.expect("sent");
    let ended = client.read(&mut [0; 1]).await;
    assert_eq!(ended.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(settings.obey("lost").expect("obeyed"), "1");
    // Who was asked has not noticed.
    server.write_all(b"ready").await.expect("sent");
    let (mut client, mut server) = connected(&settings, 7).await;
    server.write_all(b"COMMIT\0").await.expect("sent");
    let mut answer = [0; 7];
    client.read_exact(&mut answer).await.expect("no loss is left");
}

#[test]
fn what_is_not_understood_is_refused() {
    let settings = Settings::default();
    for wrong in ["", "lose", "lose 1 4 1", "lose 1 zz 1", "lose 70000 41 1", "round-trip", "round-trip 99999", "cut"] {
        assert!(settings.obey(wrong).is_err(), "{wrong:?}");
    }
}
