//! The demo's acts: I/O, a planned move under it, the death of a server, the last byte.
//!
//! Whatever is said was looked at: which server has a flow is read from the servers' own kernels,
//! what was written is compared with the disks.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::RATE;
use super::figures::Figures;
use super::screen::Screen;
use crate::api::Api;
use crate::device::Device;
use crate::fault::Fault;
use crate::flows::first_served;
use crate::io::{self, Fio, Job, Outcome, Work};
use crate::lab::Lab;
use crate::scenario::moves::greeted;
use crate::wait;

/// A program's slack beyond the time that its work should take.
const SLACK: Duration = Duration::from_secs(60);
/// From the death of a server to the survivor's first answer; beyond it the demo has failed.
const SERVED_WITHIN: Duration = Duration::from_secs(15);

/// An open flow of a client: its end, and the server that has it.
struct OpenFlow {
    client_end: SocketAddr,
    server: String,
}

/// The story of one demo.
pub struct Story<'a> {
    lab: &'a mut Lab,
    screen: &'a Screen,
    /// Bytes of each disk; written at [`RATE`] they last as long as the acts need.
    bytes: u64,
    figures: Figures,
}

impl<'a> Story<'a> {
    /// A story that plays in `lab`.
    pub fn new(lab: &'a mut Lab, screen: &'a Screen, bytes: u64) -> Self {
        Self { lab, screen, bytes, figures: Figures::default() }
    }

    /// Plays all acts.
    ///
    /// # Errors
    /// When a step fails. What is merely not as promised is in the figures.
    pub fn tell(mut self) -> Result<Figures> {
        let disk_a = self.lab.device("disk-a")?.clone();
        let disk_b = self.lab.device("disk-b")?.clone();
        let writing = Duration::from_secs(self.bytes / RATE);

        self.screen.chapter("Two clients write, and read back and verify every block");
        let began = wait::now();
        let job_a = self.job("fio-a", &disk_a, 1, RATE);
        // One at a time, so that what was acknowledged when its server dies is known exactly.
        let job_b = Job { depth: 1, ..self.job("fio-b", &disk_b, 2, RATE) };
        let fio_a = self.start("c1", &job_a)?;
        let fio_b = self.start("c2", &job_b)?;
        let flow_a = self.open_flow(&disk_a)?;
        self.open_flow(&disk_b)?;

        wait_until(began + writing / 4);
        self.move_device(&disk_a, &flow_a)?;
        wait_until(began + writing / 2);
        let broken = self.kill_server(&disk_b, fio_b)?;
        let fio_b = self.go_on(&disk_b, &job_b, &broken)?;

        self.screen.chapter("To the last byte");
        self.check_that_it_stayed(&disk_a, &flow_a)?;
        for (device, fio) in [(&disk_a, fio_a), (&disk_b, fio_b)] {
            self.end_of_writing(device, fio, writing + SLACK)?;
        }
        for device in [&disk_a, &disk_b] {
            self.compare(device)?;
        }
        Ok(self.figures)
    }

    fn job(&self, name: &str, device: &Device, seed: u64, rate: u64) -> Job {
        Job {
            name: name.to_owned(),
            uri: device.uri(),
            bytes: self.bytes,
            seed,
            depth: io::DEPTH,
            work: Work::WriteAndVerify { rate: Some(rate) },
        }
    }

    fn start(&self, client: &str, job: &Job) -> Result<Fio> {
        self.say(&format!("{client}: fio on {}", job.uri));
        Fio::start(&self.lab.on_client(client, &job.name)?, job)
    }

    /// fio's flow to a device, found at the server that the device is on.
    fn open_flow(&self, device: &Device) -> Result<OpenFlow> {
        let (server, connection) = self.lab.working_connection(&device.name)?;
        let client_end = connection.remote;
        self.say(&format!("{}: {server} has accepted the flow of {client_end}", device.name));
        Ok(OpenFlow { client_end, server })
    }

    /// The planned move: the open flow stays, a new one lands on the new server.
    fn move_device(&mut self, device: &Device, open: &OpenFlow) -> Result<()> {
        let api = self.lab.api()?;
        let target = self.idle_server(&api)?;
        let Device { name, .. } = device;
        self.screen.chapter(&format!("A planned move: {name} from {} to {target}", open.server));
        let began = wait::now();
        api.move_device(name, &target)?;
        self.figures.move_ms = milliseconds(began);
        let new = greeted(self.lab.client("c2")?, device.service())?;
        self.figures.moved_flow_ms = milliseconds(began);
        let new_end = new.local_addr()?;

        let landed = self.received(&target, device, new_end)?.is_some();
        let received = self.received(&open.server, device, open.client_end)?;
        self.figures.received_before = received.unwrap_or_default();
        self.figures.expect(landed, "the new flow is not on the new server");
        self.figures.expect(received.is_some(), "the open flow did not stay");
        self.say(&format!(
            "moved in {:.1} ms; by the servers' own connection tables (ss):",
            self.figures.move_ms
        ));
        let is = |holds: bool| if holds { "is" } else { "IS NOT" };
        let server = &open.server;
        let stays = is(received.is_some());
        self.say(&format!("  open flow {} {stays} on {server}", open.client_end));
        self.say(&format!("  new flow  {new_end} {} on {target}", is(landed)));
        drop(new);
        let launch = self.lab.on_client("c2", "nbdinfo")?;
        let size = io::disk_bytes(&launch, &device.uri())?;
        self.figures.expect(size == self.bytes, "the new server offers a disk of another size");
        self.say(&format!("c2: nbdinfo through the new server: a disk of {} MiB", size >> 20));
        Ok(())
    }

    /// The death of a server: its link is cut and its programs get SIGKILL. Link first, so that the
    /// dying programs' kernel cannot even say goodbye: what the client learns, it learns from the
    /// redirector.
    fn kill_server(&mut self, device: &Device, fio: Fio) -> Result<Outcome> {
        let victim = self.server_of(device)?;
        let Device { name, .. } = device;
        self.screen.chapter(&format!("The death of {victim}, which serves {name}"));
        self.say(&format!("cutting the links of {victim}, kill -9 of all its programs"));
        let began = Fault::Cut.inject(self.lab, &victim)?;
        self.lab.server(&victim)?.kill()?;

        let client = self.lab.client("c1")?;
        let served = || first_served(client, device.service(), |_| true, SERVED_WITHIN);
        let (served, broken) = thread::scope(|scope| {
            let served = scope.spawn(served);
            let outcome = fio.finish(SERVED_WITHIN).map(|outcome| (outcome, milliseconds(began)));
            let served = served.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")));
            (served, outcome)
        });
        let served = served.with_context(|| format!("{name} did not fail over"))?;
        let (outcome, noticed_ms) = broken.context("the client of the open flow hangs")?;
        self.figures.failover_ms = (served.at - began).as_secs_f64() * 1000.0;
        self.figures.noticed_ms = noticed_ms;
        self.figures.expect(outcome.error != 0, "the client on the dead server saw no error");

        let survivor = self.server_of(device)?;
        self.say(&format!(
            "{name}: {survivor} served a new connection {:.0} ms after the first blow",
            self.figures.failover_ms
        ));
        self.say(&format!(
            "c2: fio's flow was reset after {noticed_ms:.0} ms (errno {}), as it must be",
            outcome.error
        ));
        self.figures.expect(survivor != victim, "the device is still on its dead server");
        Ok(outcome)
    }

    /// The next client after a failure: all that was acknowledged is there, and it writes on.
    fn go_on(&mut self, device: &Device, job: &Job, broken: &Outcome) -> Result<Fio> {
        self.say("fio does not reconnect by itself: starting the next client");
        let check = Job { work: Work::VerifyAcknowledged, ..job.clone() };
        let name = format!("{}-check", job.name);
        let outcome = Fio::start(&self.lab.on_client("c2", &name)?, &check)?.finish(SLACK)?;
        // A fio whose connection broke cannot say how much was acknowledged, but it noted it for
        // this check; to have verified nothing would show nothing.
        let is_right = outcome.error == 0
            && outcome.verified_bytes > 0
            && outcome.verified_bytes >= broken.written_bytes;
        self.figures.expect(is_right, &format!("after the failover: {outcome:?}"));
        self.figures.add_verified(outcome.verified_bytes);
        self.say(&format!(
            "c2: {} MiB that were acknowledged before the failure are all there",
            outcome.verified_bytes >> 20
        ));
        // Faster than before, so that both clients end at about the same time.
        self.start("c2", &self.job(&format!("{}-again", job.name), device, 3, 4 * RATE))
    }

    /// Long after the move: the flow that was open then is where it was, and has been at work
    /// since.
    fn check_that_it_stayed(&mut self, device: &Device, open: &OpenFlow) -> Result<()> {
        let OpenFlow { client_end, server } = open;
        let received = self.received(server, device, *client_end)?.unwrap_or_default();
        let since = received.saturating_sub(self.figures.received_before);
        self.figures.expect(since > 0, "the open flow of the moved device left its server");
        let mib = since >> 20;
        self.say(&format!("{server} has got {mib} MiB more on the flow of {client_end}"));
        Ok(())
    }

    fn end_of_writing(&mut self, device: &Device, fio: Fio, within: Duration) -> Result<()> {
        let outcome = fio.finish(within)?;
        self.say(&format!(
            "{}: {} MiB written, {} MiB read back and verified, {} I/O errors",
            device.name,
            outcome.written_bytes >> 20,
            outcome.verified_bytes >> 20,
            u64::from(outcome.error != 0)
        ));
        self.figures.add_io(&device.name, &outcome, self.bytes);
        Ok(())
    }

    fn compare(&mut self, device: &Device) -> Result<()> {
        let name = format!("compare-{}", device.name);
        let launch = self.lab.on_client("c1", &name)?;
        let file = self.lab.backing_file(&device.name);
        let compared = io::compare(&launch, &device.uri(), &file)?;
        self.say(&format!(
            "{}: {} MiB read through {} and compared with the disk: {} bytes differ",
            device.name,
            compared.bytes >> 20,
            device.service(),
            compared.differing
        ));
        self.figures.add_comparison(compared);
        Ok(())
    }

    fn say(&self, text: &str) {
        self.screen.say(text);
    }

    fn server_of(&self, device: &Device) -> Result<String> {
        Ok(self.lab.api()?.device(&device.name)?.association.server)
    }

    /// A server that has no device yet.
    fn idle_server(&self, api: &Api) -> Result<String> {
        let servers = api.servers()?;
        let idle = servers.into_iter().find(|server| server.devices.is_empty());
        idle.map(|server| server.name).context("every server has a device")
    }

    /// The bytes that a server's kernel has received on the connection of `client_end`, or None
    /// when it has no such connection.
    fn received(
        &self,
        server: &str,
        device: &Device,
        client_end: SocketAddr,
    ) -> Result<Option<u64>> {
        let connections = self.lab.connections(server, &device.name)?;
        let found = connections.iter().find(|connection| connection.remote == client_end);
        Ok(found.map(|connection| connection.received_bytes))
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Lets the I/O go on until `at`: the story's pace.
fn wait_until(at: Instant) {
    wait::let_pass(at.saturating_duration_since(wait::now()));
}
