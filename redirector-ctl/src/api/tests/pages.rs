//! Lists that grow with the devices: pages, words to find them by, and what is left out in brief.

use serde_json::{Value, json};

use super::harness::Lab;

const DEVICES: usize = 30;

/// Devices `d00` to `d29` besides the two of the example; of each five one is on s2.
async fn lab() -> Lab {
    let lab = Lab::new();
    for number in 0..DEVICES {
        let server = if number % 5 == 0 { "s2" } else { "s1" };
        let body = json!({
            "address": format!("10.0.9.{}", number + 1), "port": 7000, "server_port": 8000 + number,
            "servers": ["s1", "s2"], "server": server,
        });
        let answer = lab.put(&format!("/v1/devices/d{number:02}"), body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json());
    }
    lab
}

fn names(list: &Value) -> Vec<String> {
    texts(list, "name")
}

/// One field of all items.
fn texts(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item[field].as_str().expect("a name").to_owned()).collect()
}

/// One field of all items on all pages, and how many pages there are.
async fn all_pages(lab: &Lab, first: &str, field: &str) -> (Vec<String>, usize) {
    let (mut met, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = lab.get(&format!("{first}{cursor}")).await.json();
        assert_eq!(page["total"], DEVICES + 2);
        met.extend(texts(&page, field));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (met, pages),
        }
    }
}

#[tokio::test]
async fn devices_come_page_by_page_each_once() {
    let lab = lab().await;
    let (met, pages) = all_pages(&lab, "/v1/devices?limit=10", "name").await;
    let all = names(&lab.get("/v1/devices").await.json());
    assert_eq!((met.len(), pages), (DEVICES + 2, 4));
    assert_eq!(met, all);
    assert!(all.is_sorted());
    for query in ["limit=0", "limit=1001", "order=size", "draining=perhaps"] {
        let answer = lab.get(&format!("/v1/devices?{query}")).await;
        assert_eq!(answer.problem()["code"], "bad_query", "{query}");
    }
}

#[tokio::test]
async fn associations_come_page_by_page_each_once() {
    let lab = lab().await;
    let (met, pages) = all_pages(&lab, "/v1/associations?limit=16", "device").await;
    assert_eq!(pages, 2, "the last page is full, and no empty one follows");
    assert_eq!(met, names(&lab.get("/v1/devices").await.json()));
    for query in ["limit=0", "limit=1001", "order=name"] {
        let answer = lab.get(&format!("/v1/associations?{query}")).await;
        assert_eq!(answer.problem()["code"], "bad_query", "{query}");
    }
}

#[tokio::test]
async fn devices_are_found_by_their_words_and_by_what_drains() {
    let lab = lab().await;
    let found = lab.get("/v1/devices?search=D0%20S2").await.json();
    assert_eq!(names(&found), ["d00", "d05"]);
    let found = lab.get("/v1/devices?search=10.0.9.30").await.json();
    assert_eq!(names(&found), ["d29"]);
    assert_eq!(lab.get("/v1/devices?draining=true").await.json()["total"], 0);
    lab.put("/v1/associations/d07", json!({ "server": "s2" })).await;
    assert_eq!(names(&lab.get("/v1/devices?draining=true").await.json()), ["d07"]);
    let busy = lab.get("/v1/devices?order=flows&limit=2").await.json();
    assert_eq!(names(&busy), ["d07", "d00"], "what drains has flows on two servers");
    assert_eq!((&busy["next"], &busy["total"]), (&Value::Null, &json!(DEVICES + 2)));
}

#[tokio::test]
async fn servers_in_brief_leave_out_what_grows_with_the_devices() {
    let lab = lab().await;
    let whole = lab.get("/v1/servers").await.json();
    let brief = lab.get("/v1/servers?brief=true").await.json();
    assert_eq!(names(&whole), names(&brief));
    let (whole, brief) = (&whole["items"][0], &brief["items"][0]);
    let devices_len = whole["devices"].as_array().map(Vec::len);
    assert!(devices_len > Some(20), "{whole}");
    assert_eq!(Some(&brief["devices_len"]), devices_len.map(|len| json!(len)).as_ref());
    assert_eq!((&brief["devices"], &brief["address"]), (&json!([]), &whole["address"]));
}
