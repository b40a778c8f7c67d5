//! Facts about who answers: neighbours, servers, and whoever else has a service address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::Site;
use super::links::Known;
use crate::core::doctor::{Answers, Server, Service};
use crate::platform::netlink::{Netlink, Route};

/// The kernel asks for a neighbour three times, a second apart; one that is there answers the
/// first or second time.
const NEIGHBOUR_LIMIT: Duration = Duration::from_millis(1500);
/// Long enough for a repeated SYN.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);

/// Service addresses that are asked for at most, so that all answers are there in some seconds.
const SERVICES_MAX: usize = 1024;

pub(super) struct Reach<'a> {
    pub(super) site: &'a Site,
    pub(super) netlink: &'a Netlink,
    pub(super) known: &'a Known,
}

impl Reach<'_> {
    pub(super) async fn servers(&self) -> Vec<Server> {
        let servers = &self.site.servers;
        join_all(servers.iter().map(|(name, address, port)| self.server(name, *address, *port)))
            .await
    }

    async fn server(&self, name: &str, address: IpAddr, port: Option<u16>) -> Server {
        let mut server = Server {
            name: name.to_owned(),
            address,
            route: None,
            by_ours: false,
            resolved: false,
            answers: Answers { port, ..Answers::default() },
        };
        // What the kernel does not tell is no route: the finding says the same.
        let Ok(Some(Route { out, gateway, .. })) = self.netlink.route_to(address).await else {
            return server;
        };
        let interface = self.known.name_of(out).unwrap_or("?").to_owned();
        server.by_ours = self.ours().any(|(index, _)| index == out);
        server.route = Some((interface, gateway));
        let neighbour = gateway.unwrap_or(address);
        let found = self.netlink.who_has(out, neighbour, NEIGHBOUR_LIMIT).await;
        server.resolved = matches!(found, Ok(Some(_)));
        if let (true, Some(port)) = (server.resolved, port) {
            server.answers.near = answers(None, SocketAddr::new(address, port)).await;
            if server.answers.near {
                server.answers.far = self.far(out, SocketAddr::new(address, port)).await;
            }
        }
        server
    }

    /// Asks a server from our own address on each other interface.
    async fn far(&self, near: u32, server: SocketAddr) -> Vec<(IpAddr, bool)> {
        let mut asked = Vec::new();
        for (index, _) in self.ours().filter(|(index, _)| *index != near) {
            let addresses = self.netlink.addresses(index).await.unwrap_or_default();
            let usable = |address: &&IpAddr| {
                let is_service = self.site.services.iter().any(|(_, one)| one == *address);
                let is_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
                address.is_ipv4() == server.is_ipv4() && !is_service && !is_local
            };
            if let Some(from) = addresses.iter().find(usable) {
                asked.push((*from, answers(Some(*from), server).await));
            }
        }
        asked
    }

    /// Indexes of the configured interfaces, and whether service addresses are announced there.
    fn ours(&self) -> impl Iterator<Item = (u32, bool)> {
        let all = self.site.interfaces.iter();
        all.filter_map(|(name, wanted)| Some((self.known.named(name)?.index, wanted.announces)))
    }

    /// Who has the service addresses: of very many a part, from everywhere among them.
    pub(super) async fn services(&self) -> Vec<Service> {
        let all = &self.site.services;
        let step = all.len().div_ceil(SERVICES_MAX).max(1);
        let service = |(device, address): &(String, IpAddr)| Service {
            device: device.clone(),
            address: *address,
            others: Vec::new(),
            asked: false,
        };
        let mut services: Vec<Service> = all.iter().step_by(step).map(service).collect();
        let routes = services.iter().map(|service| self.netlink.route_to(service.address));
        let direct: Vec<Option<u32>> = join_all(routes)
            .await
            .into_iter()
            .map(|route| route.ok().flatten().filter(|route| route.gateway.is_none()))
            .map(|route| route.map(|route| route.out))
            .collect();
        for (index, announces) in self.ours() {
            let concerns = |at: &Option<u32>| announces || *at == Some(index);
            let there = services.iter_mut().zip(&direct).filter(|(_, at)| concerns(at));
            let mut there: Vec<&mut Service> = there.map(|(service, _)| service).collect();
            let addresses: Vec<IpAddr> = there.iter().map(|service| service.address).collect();
            let found = self.netlink.who_have(index, &addresses, NEIGHBOUR_LIMIT).await;
            // What the kernel does not tell was not asked for: the finding says so.
            let Ok(found) = found else { continue };
            for service in &mut there {
                let Some(answer) = found.get(&service.address) else { continue };
                service.asked = true;
                if let (Some(mac), Some(name)) = (answer, self.known.name_of(index)) {
                    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                    service.others.push((name.to_owned(), mac));
                }
            }
        }
        services
    }
}

/// Whether a server accepts or refuses a connection from one of our addresses.
async fn answers(from: Option<IpAddr>, server: SocketAddr) -> bool {
    let connect = async {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(server).await
    };
    match timeout(ANSWER_LIMIT, connect).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}
