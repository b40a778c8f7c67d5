//! The dashboard's files: all there, each of its kind, and nothing in them that the policy refuses.

use axum::http::{StatusCode, header};

use super::harness::{Answer, Lab};

/// What a file names in quotes that follow one of `marks`.
fn named<'t>(text: &'t str, marks: &'t [&'t str]) -> impl Iterator<Item = &'t str> {
    let after = |mark: &&'t str| text.split(*mark).skip(1).collect::<Vec<_>>();
    marks.iter().flat_map(after).filter_map(|rest| rest.split('"').next())
}

async fn file(lab: &Lab, path: &str) -> (Answer, String) {
    let answer = lab.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}");
    let policy = answer.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'self';"), "{path}: {policy}");
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
    assert_eq!(answer.header(header::X_FRAME_OPTIONS), "DENY", "{path}");
    let text = String::from_utf8(answer.bytes.clone()).expect("a text");
    (answer, text)
}

#[tokio::test]
async fn every_file_that_the_dashboard_names_is_there_and_of_its_kind() {
    let lab = Lab::new();
    let (page, text) = file(&lab, "/").await;
    assert_eq!(page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
    let mut paths: Vec<String> = named(&text, &["src=\"", "href=\"/"])
        .map(|path| format!("/{}", path.trim_start_matches('/')))
        .collect();
    let mut seen = Vec::new();
    while let Some(path) = paths.pop() {
        if seen.contains(&path) {
            continue;
        }
        let (answer, text) = file(&lab, &path).await;
        let kind = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(answer.header(header::CONTENT_TYPE), kind, "{path}");
        paths.extend(named(&text, &["from \"./"]).map(|name| format!("/ui/{name}")));
        seen.push(path);
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let (_, text) = file(&Lab::new(), "/").await;
    for refused in ["<style", "style=", "onclick", "onload", "http:", "https:", "//"] {
        assert!(!text.contains(refused), "the page has {refused}");
    }
    let scripts: Vec<&str> = text.split("<script").skip(1).collect();
    assert!(!scripts.is_empty());
    assert!(scripts.iter().all(|rest| rest.contains("src=\"/ui/main.js\"></script>")));
}

#[tokio::test]
async fn what_is_no_file_of_the_dashboard_is_a_problem() {
    let answer = Lab::new().get("/ui/../Cargo.toml").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.problem()["code"], "unknown_resource");
}
