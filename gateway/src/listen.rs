//! Listening sockets: one per worker for each address, so that the kernel shares connections out.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket.
pub(crate) const BACKLOG: i32 = 1024;

/// Binds `count` sockets to an address. Port 0 takes a free port, the same for all.
///
/// Where the system cannot bind several sockets to one address, all share one.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AddrInUse`] also if another process shares the address out in this way.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // With SO_REUSEPORT a second process would silently get half of the connections.
        socket(address)?.bind(&address.into())?;
    }
    let first = listener(address, true);
    let (first, shared) = match first {
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput) => {
            (listener(address, false)?, true)
        }
        first => (first?, false),
    };
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        let next = if shared { listeners[0].try_clone()? } else { listener(address, true)? };
        listeners.push(next);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    if reuse_port {
        set_reuse_port(&socket)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows this would let others take the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(all(unix, not(target_os = "solaris"), not(target_os = "illumos")))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(target_os = "solaris"), not(target_os = "illumos"))))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_and_strangers_do_not() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = bind(any, 3).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(listeners.len(), 3);
        assert!(addresses[0].port() != 0 && addresses.iter().all(|address| *address == addresses[0]));
        assert_eq!(bind(addresses[0], 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert_eq!(bind(addresses[0], 1).unwrap().len(), 1);
    }
}
