//! What a process can reach.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use fapo_domain::ports::sandbox::{Forward, Mount, Sandbox};

use crate::support::*;

/// A server on a socket in `folder` that answers what it was sent, once the sender has closed.
fn echo(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut sent = Vec::new();
                stream.read_to_end(&mut sent).unwrap();
                stream.write_all(b"heard ").unwrap();
                stream.write_all(&sent).unwrap();
            });
        }
    });
    path
}

#[tokio::test]
async fn only_the_forwarded_port_leads_out() {
    let folder = tempfile::tempdir().unwrap();
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let name = SocketAddr::from_abstract_name(format!("fapo-test-{port}")).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let script = format!(
        "
import os, socket
def tried(name, family, address):
    with socket.socket(family) as made:
        made.settimeout(5)
        try:
            made.connect(address)
            print(name, 'open')
        except OSError as error:
            print(name, 'closed')
tried('host', socket.AF_INET, ('127.0.0.1', {port}))
tried('internet', socket.AF_INET, ('192.0.2.1', 80))
tried('abstract', socket.AF_UNIX, '\\0fapo-test-{port}')
url = os.environ['BASE_URL']
with socket.create_connection(('127.0.0.1', int(url.rpartition(':')[2]))) as out:
    out.sendall(b'x' * 3000000)
    out.shutdown(socket.SHUT_WR)
    got = b''
    while piece := out.recv(65536):
        got += piece
    print(url.startswith('http://127.0.0.1:'), got[:8], len(got))
"
    );
    let mut spec = python(&script);
    spec.forwards.push(Forward {
        socket: echo(folder.path()),
        variable: "BASE_URL".to_owned(),
        address: "http://127.0.0.1:{port}".to_owned(),
    });
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(
        ran.stdout, "host closed\ninternet closed\nabstract closed\nTrue b'heard xx' 3000006\n",
        "{}",
        ran.stderr
    );
    host.set_nonblocking(true).unwrap();
    assert!(host.accept().is_err());
}

#[tokio::test]
async fn two_forwards_are_two_ports_and_a_dead_socket_is_a_closed_connection() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dead = two.path().join("socket");
    drop(UnixListener::bind(&dead).unwrap());
    let script = "
import os, socket
for name in ('ONE', 'TWO'):
    with socket.create_connection(('127.0.0.1', int(os.environ[name]))) as out:
        out.shutdown(socket.SHUT_WR)
        print(out.recv(10))
";
    let mut spec = python(script);
    for (socket, variable) in [(echo(one.path()), "ONE"), (dead, "TWO")] {
        spec.forwards.push(Forward {
            socket,
            variable: variable.to_owned(),
            address: "{port}".to_owned(),
        });
    }
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.stdout, "b'heard '\nb''\n", "{}", ran.stderr);
}

#[tokio::test]
async fn the_bridge_joins_standard_streams_to_a_socket_after_the_token() {
    for sandbox in [sandbox(), unconfined()] {
        let folder = tempfile::tempdir().unwrap();
        echo(folder.path());
        let mount = Mount {
            host: folder.path().into(),
            inside: "/session".into(),
        };
        let place = sandbox.inside(&mount).await.unwrap();
        let (program, args) = sandbox.bridge();
        let script = format!(
            "echo question | {} {} {}/socket",
            program.display(),
            args.join(" "),
            place.display()
        );
        let mut spec = shell(&script);
        spec.env
            .push(("FAPO_SESSION_TOKEN".to_owned(), "the-token".to_owned()));
        spec.read_only.push(mount);
        let ran = run(&*sandbox, spec).await;
        assert_eq!(ran.stdout, "heard the-token\nquestion\n", "{}", ran.stderr);
    }
}
