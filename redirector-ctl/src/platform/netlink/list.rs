//! Lists from the kernel, which makes one at a time for a socket and refuses another with EBUSY
//! (`__netlink_dump_start`), also after nobody waits for the first any more.

use std::time::Duration;

use futures::{TryStream, TryStreamExt as _};

use super::{NetlinkError, failed};

/// How often a list is asked for again while the kernel makes another one, and after what time.
const BUSY_MAX: u32 = 200;
const BUSY_REST: Duration = Duration::from_millis(2);

/// Asks for a list until it comes.
///
/// # Errors
/// When the kernel refuses, or is busy with other lists for too long.
pub(super) async fn list<M, L>(what: &str, ask: impl Fn() -> L) -> Result<Vec<M>, NetlinkError>
where
    L: TryStream<Ok = M, Error = rtnetlink::Error>,
{
    let mut asked = 1;
    loop {
        match ask().try_collect().await {
            Err(error) if is_busy(&error) && asked <= BUSY_MAX => {
                tokio::time::sleep(BUSY_REST).await;
                asked += 1;
            }
            listed => return listed.map_err(failed(&format!("list {what}"))),
        }
    }
}

fn is_busy(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.raw_code() == -libc::EBUSY
}

#[cfg(test)]
mod tests {
    use super::super::Netlink;

    #[tokio::test]
    async fn lists_that_are_asked_for_at_once_all_come() {
        let (netlink, _events) = Netlink::open().unwrap();
        let ask = || async {
            let interfaces = netlink.links().await?;
            netlink.addresses(1).await?;
            netlink.neighbours().await?;
            Ok::<_, super::NetlinkError>(interfaces.len())
        };
        let lens = futures::future::try_join_all((0..50).map(|_| ask())).await.unwrap();
        assert!(lens.iter().all(|len| *len == lens[0]), "{lens:?}");
    }
}
