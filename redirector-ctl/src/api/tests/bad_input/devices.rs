//! Devices whose settings cannot be, by themselves or beside others.

use super::*;

#[tokio::test]
async fn a_check_that_cannot_be_is_named_with_its_field_and_a_command_is_never_taken() {
    let asked = disk_c(json!({"check": {"kind": "exec", "command": ["/bin/true"]}}));
    let says = "only taken from the configuration file";
    assert_refused(asked, (422, "exec_from_api", "check"), says).await;
    let asked = disk_c(json!({"check": {"kind": "nbd", "size_bytes": "big"}}));
    assert_refused(asked, (400, "bad_field", "check.size_bytes"), "expected u64").await;
    let asked = disk_c(json!({"check": {"kind": "smb", "export": "a"}}));
    assert_refused(asked, (400, "bad_field", "check"), "export: only `nbd` has it").await;
    let asked = disk_c(json!({"check": "ping"}));
    assert_refused(asked, (400, "bad_field", "check"), "unknown variant `ping`").await;
    let asked = disk_c(json!({"check_interval_ms": 1}));
    assert_refused(asked, (400, "out_of_range", "check_interval_ms"), "from 10 to 60000").await;
}

#[tokio::test]
async fn an_address_of_another_family_is_refused() {
    let asked = disk_c(json!({"address": "fd00::1"}));
    assert_refused(asked, (422, "family_mismatch", "servers[0]"), "must be of one family").await;
    let asked = disk_c(json!({"address": "fe80::1"}));
    assert_refused(asked, (400, "bad_address", "address"), "link-local").await;
    let asked = put("/v1/servers/s1", json!({"address": "fd00::1"}));
    assert_refused(asked, (422, "family_mismatch", "address"), "device disk-a").await;
}

#[tokio::test]
async fn a_treatment_that_cannot_be_is_named_with_its_field_and_what_to_do() {
    for (with, code, field, says) in [
        (
            json!({"forwarding": "dsr", "server_port": 80}),
            "direct_server_port",
            "server_port",
            "leave server_port out",
        ),
        (json!({"forwarding": "full-nat"}), "no_local_address", "forwarding", "local.addresses"),
        (json!({"forwarding": "gue"}), "no_tunnel_source", "forwarding", "tunnel.source_v4"),
        (
            json!({"tracking": "stateless", "affinity": "client"}),
            "stateless_affinity",
            "affinity",
            "choose affinity flow",
        ),
        (
            json!({"tracking": "stateless", "on_planned": {"kind": "keep"}}),
            "stateless_keep",
            "on_planned",
            "choose drain",
        ),
        (json!({"on_failure": {"kind": "keep"}}), "failure_policy", "on_failure", "write reset"),
        (
            json!({"on_failure": {"kind": "drain"}}),
            "failure_policy",
            "on_failure",
            "drain it (server drain)",
        ),
        (json!({"protocol": "any"}), "ports_of_any", "port", "leave it out"),
        (json!({"ports": ["65000"], "server_port": 9000}), "ports_out_of_range", "ports", "fewer"),
        (json!({"ports": ["5000-6000"]}), "ports_with_gaps", "ports", "a device of each row"),
        (json!({"protocol": "udp", "mss_max": 1400}), "wrong_protocol", "mss_max", "for TCP"),
    ] {
        assert_refused(disk_c(with), (422, code, field), says).await;
    }
    let asked = disk_c(json!({"mss_max": 100}));
    assert_refused(asked, (400, "out_of_range", "mss_max"), "from 216 to 65495").await;
    let asked = disk_c(json!({"forwarding": "nat64"}));
    assert_refused(asked, (400, "bad_field", "forwarding"), "`full-nat`").await;
    let asked = disk_c(json!({"address": "10.0.1.100", "ports": ["10800-10809"]}));
    assert_refused(asked, (409, "duplicate_service", "address"), "device disk-a").await;
}
