//! `apply` against a daemon that changes while it is read.

use tokio::sync::mpsc;

use super::*;

/// Answers each request with the next of these generations and bodies; gives the heads of the
/// requests.
fn answering(
    listener: UnixListener,
    answers: [(u64, &'static str); 3],
) -> mpsc::UnboundedReceiver<String> {
    let (heads, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (generation, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut head = vec![0; 4096];
            let len = stream.read(&mut head).await.expect("a request");
            let head = String::from_utf8_lossy(&head[..len]).to_lowercase();
            heads.send(head).expect("somebody looks");
            let len = body.len();
            let text = format!(
                "HTTP/1.1 200 OK\r\netag: \"{generation}\"\r\ncontent-length: {len}\r\n\
                 connection: close\r\n\r\n{body}"
            );
            stream.write_all(text.as_bytes()).await.expect("the client listens");
        }
    });
    asked
}

#[tokio::test]
async fn what_has_changed_while_it_was_read_makes_the_first_step_stale() {
    let directory = tempfile::tempdir().expect("a directory");
    let (socket, file) = (directory.path().join("api.sock"), directory.path().join("site.toml"));
    std::fs::write(&file, "[servers.s9]\naddress = \"10.0.2.9\"\n").expect("a file");
    let listener = UnixListener::bind(&socket).expect("a socket");
    // Somebody changes something between the servers and the devices.
    let devices = r#"{"items": [], "total": 0, "next": null}"#;
    let mut asked = answering(listener, [(5, r#"{"items": []}"#), (7, devices), (8, "{}")]);
    let ran = run(&socket, &format!("apply {} --yes", file.display())).await;
    assert_eq!(ran.exit, Exit::Done, "{ran:?}");
    let mut heads = Vec::new();
    while let Ok(head) = asked.try_recv() {
        heads.push(head);
    }
    let put = heads.last().expect("a change");
    assert!(put.starts_with("put /v1/servers/s9 "), "{heads:?}");
    assert!(put.contains("if-match: \"5\""), "as it was when the reading began: {put}");
}
