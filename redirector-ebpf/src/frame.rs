//! The only place that touches packet memory.
//!
//! `parse` copies a small [`Packet`] out of the frame, `apply` writes the verdict back. Everything
//! is checked before the first write, so no half-rewritten packet leaves (G8). What moves packet
//! memory takes the frame by value, so that a stale reference does not compile.

use core::marker::PhantomData;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use redirector_common::family::{Family, V4};
use redirector_common::headers::{
    ETHER_TYPE_IPV4, ETHERNET_LEN, Ethernet, IPV4_LEN, Ipv4, Mac, PROTOCOL_TCP, PROTOCOL_UDP, Tcp,
    Udp,
};
use redirector_common::packet::Packet;
use redirector_common::reset::{RESET_FRAME_LEN, reset};
use redirector_common::verdict::{Action, Reason, Verdict};
use redirector_common::wire::Hop;
use redirector_common::{nat, parse};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::maps;

/// Where the headers lie; options are refused by `parse`, so the places are constants.
const IP: usize = ETHERNET_LEN;
const TRANSPORT: usize = ETHERNET_LEN + IPV4_LEN;

/// A received frame of address family `F`.
pub struct Frame<'a, F: Family = V4> {
    context: &'a XdpContext,
    family: PhantomData<F>,
}

impl<'a> Frame<'a, V4> {
    /// The frame that the program was called for.
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context, family: PhantomData }
    }

    /// Length in bytes, all buffers of a jumbo frame included.
    #[inline(always)]
    pub fn len(&self) -> u64 {
        // SAFETY: the context is the one that the kernel called us with.
        unsafe { bpf_xdp_get_buff_len(self.context.ctx) }
    }

    /// Copies out what the decision needs; refuses, by name, what is not an IPv4 TCP or UDP packet
    /// in good order.
    #[inline(always)]
    pub fn parse(&self) -> Result<Packet<V4>, Reason> {
        let ethernet: &Ethernet = self.header(0)?;
        if ethernet.ether_type != ETHER_TYPE_IPV4 {
            return Err(Reason::NotIp);
        }
        let ip: &Ipv4 = self.header(IP)?;
        let ip_len = parse::ipv4(ip)?;
        self.check_len(ip_len)?;
        let arrival = Hop::new(ethernet.source, self.context.ingress_ifindex() as u16);
        let (source_port, destination_port, segment) = match ip.protocol {
            PROTOCOL_TCP => {
                let tcp: &Tcp = self.header(TRANSPORT)?;
                (tcp.source, tcp.destination, Some(parse::tcp(tcp, ip_len)?))
            }
            PROTOCOL_UDP => {
                let udp: &Udp = self.header(TRANSPORT)?;
                parse::udp(udp, ip_len)?;
                (udp.source, udp.destination, None)
            }
            _ => return Err(Reason::OtherProtocol),
        };
        Ok(Packet {
            source: V4::endpoint(ip.source, source_port, ip.protocol),
            destination: V4::endpoint(ip.destination, destination_port, ip.protocol),
            segment,
            ttl: ip.ttl,
            arrival,
        })
    }

    /// Whether a packet of `ip_len` bytes is all there. The length of all buffers costs a call, so
    /// it is asked for only if the first buffer does not do.
    #[inline(always)]
    fn check_len(&self, ip_len: usize) -> Result<(), Reason> {
        let linear_len = self.context.data_end() - self.context.data();
        let frame_len = ETHERNET_LEN + ip_len;
        if frame_len > linear_len && frame_len as u64 > self.len() {
            return Err(Reason::Truncated);
        }
        Ok(())
    }

    /// Carries a verdict out; gives the XDP action and the reason that was really met.
    #[inline(always)]
    pub fn apply(self, verdict: &Verdict<V4>) -> (u32, Reason) {
        match verdict.action {
            Action::Pass => (XDP_PASS, verdict.reason),
            Action::Drop => (XDP_DROP, verdict.reason),
            Action::ToServer | Action::ToClient => match self.translate(verdict) {
                Ok(action) => (action, verdict.reason),
                Err(reason) => (XDP_PASS, reason),
            },
            Action::Reset => match self.answer_with_reset() {
                Ok(action) => (action, verdict.reason),
                Err(reason) => (XDP_DROP, reason),
            },
        }
    }

    /// Rewrites addresses and ports and sends the frame on.
    #[inline(always)]
    fn translate(self, verdict: &Verdict<V4>) -> Result<u32, Reason> {
        let own = maps::own_address(verdict.egress.ifindex());
        let ip: &mut Ipv4 = self.header_mut(IP)?;
        // From here on nothing can fail: each branch checks its transport header before it writes.
        match ip.protocol {
            PROTOCOL_TCP => rewrite(verdict, ip, self.header_mut::<Tcp>(TRANSPORT)?),
            _ => rewrite(verdict, ip, self.header_mut::<Udp>(TRANSPORT)?),
        }
        match own {
            Some(own) => self.send(verdict.egress, own),
            // Neighbour or interface unknown: the kernel's stack resolves and routes the rewritten
            // packet.
            None => Ok(XDP_PASS),
        }
    }

    /// Addresses the frame to `egress` and sends it.
    #[inline(always)]
    fn send(self, egress: Hop, own: Mac) -> Result<u32, Reason> {
        let ethernet: &mut Ethernet = self.header_mut(0)?;
        ethernet.destination = egress.mac();
        ethernet.source = own;
        if usize::from(egress.ifindex()) == self.context.ingress_ifindex() {
            return Ok(XDP_TX);
        }
        // SAFETY: the helper takes plain numbers and only notes the target.
        Ok(unsafe { bpf_redirect(u32::from(egress.ifindex()), 0) } as u32)
    }

    /// Turns a client's segment into the exact RST that answers it.
    #[inline(always)]
    fn answer_with_reset(self) -> Result<u32, Reason> {
        let frame = self.shorten(RESET_FRAME_LEN)?;
        let tcp: &mut Tcp = frame.header_mut(TRANSPORT).map_err(|_| Reason::ResetFailed)?;
        let ip: &mut Ipv4 = frame.header_mut(IP).map_err(|_| Reason::ResetFailed)?;
        let ethernet: &mut Ethernet = frame.header_mut(0).map_err(|_| Reason::ResetFailed)?;
        reset(ethernet, ip, tcp);
        Ok(XDP_TX)
    }

    /// Cuts the frame's tail off. Every reference into the old frame is gone, as it is taken by
    /// value.
    #[inline(always)]
    fn shorten(self, len: usize) -> Result<Self, Reason> {
        let delta = len as i64 - self.len() as i64;
        let context: *mut xdp_md = self.context.ctx;
        // SAFETY: the context is the kernel's own, and no reference into packet memory is alive.
        match unsafe { bpf_xdp_adjust_tail(context, delta as i32) } {
            0 => Ok(self),
            _ => Err(Reason::ResetFailed),
        }
    }

    /// Borrows the header at `offset`, or reports the frame as truncated.
    #[inline(always)]
    fn header<T: FromBytes + Immutable>(&self, offset: usize) -> Result<&'a T, Reason> {
        let start = self.context.data() + offset;
        if start + size_of::<T>() > self.context.data_end() {
            return Err(Reason::Truncated);
        }
        // SAFETY: in bounds by the check above; headers accept any bytes and start at even
        // addresses.
        Ok(unsafe { &*(start as *const T) })
    }

    /// Borrows the header at `offset` for writing, or reports the frame as truncated.
    ///
    /// The headers of one frame do not overlap, and each is borrowed once in a function.
    #[inline(always)]
    fn header_mut<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<&'a mut T, Reason> {
        let start = self.context.data() + offset;
        if start + size_of::<T>() > self.context.data_end() {
            return Err(Reason::Truncated);
        }
        // SAFETY: in bounds by the check above; headers accept any bytes and start at even
        // addresses.
        Ok(unsafe { &mut *(start as *mut T) })
    }
}

/// Rewrites headers in the direction of the verdict.
#[inline(always)]
fn rewrite(verdict: &Verdict<V4>, ip: &mut Ipv4, transport: &mut impl nat::Transport) {
    match verdict.action {
        Action::ToServer => nat::to_server(ip, transport, verdict.address, verdict.port),
        _ => nat::to_client(ip, transport, verdict.address, verdict.port),
    }
}
