use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::Connection;

/// Answers one request for each text, in pieces of a few bytes, on one connection.
fn served(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        for answer in answers {
            let _ = stream.read(&mut [0; 1024]).unwrap();
            for piece in answer.as_bytes().chunks(7) {
                stream.write_all(piece).unwrap();
                stream.flush().unwrap();
            }
        }
    });
    (address, serving)
}

fn exchange(connection: &mut Connection) -> anyhow::Result<(u16, String)> {
    let mut body = String::new();
    let status = connection.exchange("GET / HTTP/1.1\r\n\r\n", b"", |_, piece| {
        body.push_str(std::str::from_utf8(piece)?);
        Ok(())
    })?;
    Ok((status, body))
}

#[test]
fn answers_of_either_framing_follow_each_other_on_one_connection() {
    let (address, serving) = served(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nb;x=y\r\n world again\r\n0\r\n\r\n",
    ]);
    let mut connection = Connection::new(&address);
    assert_eq!(exchange(&mut connection).unwrap(), (200, "hello world".to_owned()));
    // The second chunk is one byte longer than it says.
    assert!(exchange(&mut connection).unwrap_err().to_string().contains("longer than it says"));
    serving.join().unwrap();
}

#[test]
fn an_answer_that_is_cut_short_is_an_error() {
    let (address, serving) = served(&["HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world"]);
    assert!(exchange(&mut Connection::new(&address)).unwrap_err().to_string().contains("before the end"));
    serving.join().unwrap();
}
