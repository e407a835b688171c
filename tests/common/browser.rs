//! A real browser, driven from the outside: Chromium without a window, told what to do by the DevTools
//! protocol over two pipes. Messages are JSON, ended by a zero byte; nothing else is needed.
//!
//! Everything that the page says on its console, and everything that it asks for, is kept.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATIENCE;

/// What the browser is called on various systems.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// It shall show a page and do nothing else of its own.
const FLAGS: [&str; 15] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--force-prefers-reduced-motion",
    "--hide-scrollbars",
    "--no-default-browser-check",
    "--no-first-run",
];

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    into: File,
    heard: Receiver<Value>,
    /// Errors and warnings on the console, and scripts that failed.
    pub(crate) complaints: Vec<String>,
    /// What was asked for, and with what status it was answered.
    pub(crate) requests: Vec<String>,
    pub(crate) statuses: Vec<(String, u64)>,
    session: Option<String>,
    last: u64,
    _dir: TempDir,
}

impl Browser {
    /// Starts it; `None`, and words that say so, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let Some(name) = NAMES.into_iter().find(|name| is_installed(name)) else {
            eprintln!("skipped: no {} here; with Debian: apt install chromium", NAMES[0]);
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let pipe = |end: &str| {
            let path = dir.path().join(end);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            path
        };
        let (into, from) = (pipe("into"), pipe("from"));
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        // The browser reads descriptor 3 and writes descriptor 4; a shell can give it those.
        let child = Command::new("sh")
            .args(["-c", r#"exec 3<"$1" 4>"$2"; shift 2; exec "$@""#, "sh"])
            .args([&into, &from])
            .arg(name)
            .args(FLAGS)
            .args([&profile, "about:blank"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let into = OpenOptions::new().write(true).open(into).unwrap();
        let mut from = BufReader::new(File::open(from).unwrap());
        let (say, heard) = unbounded();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while from.read_until(0, &mut bytes).is_ok_and(|n| n > 0) {
                bytes.pop();
                let Ok(message) = serde_json::from_slice(&bytes) else { return };
                if say.send(message).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let mut browser = Self {
            child,
            into,
            heard,
            complaints: Vec::new(),
            requests: Vec::new(),
            statuses: Vec::new(),
            session: None,
            last: 0,
            _dir: dir,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Runtime", "Network", "Page", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has it do something; gives what came of it.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut line = message.to_string().into_bytes();
        line.push(0);
        self.into.write_all(&line).unwrap_or_else(|e| panic!("the browser is gone: {e}"));
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.heard.recv_deadline(end);
            let mut heard = heard.unwrap_or_else(|e| panic!("no answer to {method}: {e}"));
            if heard["id"] == self.last {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].take();
            }
            self.keep(&heard);
        }
    }

    /// Keeps what a test may want to know of an event.
    fn keep(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.consoleAPICalled")
                if matches!(params["type"].as_str(), Some("error" | "warning")) =>
            {
                self.complaints.push(params["args"].to_string());
            }
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] != "verbose" => {
                self.complaints.push(params["entry"]["text"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            Some("Network.responseReceived") => {
                let response = &params["response"];
                let url = response["url"].as_str().unwrap().to_owned();
                self.statuses.push((url, response["status"].as_u64().unwrap()));
            }
            _ => {}
        }
    }

    /// Shows a page.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({"url": url}));
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.until("the page is there", "document.readyState === 'complete'");
    }

    /// Makes the window so large, in CSS pixels; narrower than a window of this browser may be, too.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Makes the reader's system prefer `light` pages or `dark` ones.
    pub(crate) fn light(&mut self, scheme: &str) {
        let preferred = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", preferred);
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is neither null, false, 0 nor empty; gives its value.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let value = self.ask(expression);
            let empty = [json!(null), json!(false), json!(0), json!(""), json!([])].contains(&value);
            if !empty {
                return value;
            }
            if Instant::now() >= end {
                let page = self.ask("document.body.innerText");
                let complaints = &self.complaints;
                panic!("not in {PATIENCE:?}: {what}; complaints: {complaints:#?}; the page:\n{page:#}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until what a reader sees in the element has this text.
    #[track_caller]
    pub(crate) fn reads(&mut self, selector: &str, text: &str) {
        let seen = format!(
            "[...document.querySelectorAll({})].some((node) => node.checkVisibility() \
             && node.innerText.replace(/\\s+/g, ' ').includes({}))",
            json!(selector),
            json!(text)
        );
        self.until(&format!("{selector} says {text:?}"), &seen);
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Space" => (32, " "),
            _ => (9, ""),
        };
        let name = if key == "Space" { " " } else { key };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": name, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Takes a picture of what the window shows.
    pub(crate) fn picture(&mut self, path: &Path) {
        self.shoot(path, json!({"format": "png", "optimizeForSpeed": false}));
    }

    /// Takes a picture of the whole page, however long it is.
    pub(crate) fn picture_of_all(&mut self, path: &Path) {
        self.shoot(path, json!({"format": "png", "captureBeyondViewport": true}));
    }

    fn shoot(&mut self, path: &Path, how: Value) {
        let shot = self.call("Page.captureScreenshot", how);
        let bytes = base64(shot["data"].as_str().unwrap());
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its many processes itself; should it not, its first one is killed, on which the others end.
        self.session = None;
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        let asked = self.into.write_all(format!("{close}\0").as_bytes()).is_ok();
        let end = Instant::now() + Duration::from_secs(if asked { 10 } else { 0 });
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn base64(text: &str) -> Vec<u8> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    BASE64_STANDARD.decode(text).unwrap()
}
