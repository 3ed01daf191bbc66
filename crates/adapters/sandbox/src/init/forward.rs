//! Ports inside that lead to Unix sockets of the host.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use tokio::net::{TcpStream, UnixStream};

use crate::wire::ForwardOrder;

/// Bound ports, before anybody is let in.
pub(super) struct Forwards {
    bound: Vec<(TcpListener, PathBuf)>,
    /// Variables for the program, with the addresses.
    pub(super) env: Vec<(String, String)>,
    pub(super) ports: Vec<u16>,
}

impl Forwards {
    /// Takes a free port for each.
    pub(super) fn bind(orders: &[ForwardOrder]) -> io::Result<Self> {
        let mut forwards = Self {
            bound: Vec::new(),
            env: Vec::new(),
            ports: Vec::new(),
        };
        for order in orders {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port();
            let address = order.address.replace("{port}", &port.to_string());
            forwards.env.push((order.variable.clone(), address));
            forwards.ports.push(port);
            forwards.bound.push((listener, order.socket.clone()));
        }
        Ok(forwards)
    }

    /// Carries connections on a thread of its own, as long as the process lives.
    pub(super) fn serve(self) -> io::Result<()> {
        if self.bound.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let accepting = {
            let _runtime = runtime.enter();
            let listeners = self.bound.into_iter();
            listeners
                .map(|(listener, socket)| {
                    Ok((tokio::net::TcpListener::from_std(listener)?, socket))
                })
                .collect::<io::Result<Vec<_>>>()?
        };
        std::thread::Builder::new()
            .name("forward".to_owned())
            .spawn(move || {
                let local = accepting
                    .into_iter()
                    .map(|(listener, socket)| accept(listener, socket));
                let tasks: Vec<_> = local.map(|accepts| runtime.spawn(accepts)).collect();
                runtime.block_on(async {
                    for task in tasks {
                        let _ = task.await;
                    }
                });
            })?;
        Ok(())
    }
}

async fn accept(listener: tokio::net::TcpListener, socket: PathBuf) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(carry(stream, socket.clone()));
            }
            // out of descriptors: those under way give some back
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

/// Carries one connection, each direction until its own end.
async fn carry(mut inside: TcpStream, socket: PathBuf) {
    // A socket that is gone closes the connection, which is what a client of a dead server sees.
    let Ok(mut outside) = UnixStream::connect(&socket).await else {
        return;
    };
    let _ = inside.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
}
