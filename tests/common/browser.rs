//! A browser without a window, as far as tests of pages need one. It is spoken to through a pipe, in JSON messages that end
//! with a zero byte (the DevTools protocol), so that it needs no port.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::needs;

/// What Chromium is called.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A running browser, with one page.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
    rest: Vec<u8>,
    number: u64,
    session: Option<String>,
    /// What the page complained of.
    pub(crate) errors: Vec<Value>,
    /// Its profile.
    _folder: TempDir,
}

impl Browser {
    /// Starts it; where there is none, the test is skipped, and says so.
    pub(crate) fn start_or_skip() -> Option<Self> {
        let Some(program) = NAMES.iter().find_map(|name| needs::find(name)) else {
            needs::skipped("there is no Chromium; `./ci/deps` installs it");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        // It reads from descriptor 3 and writes to 4.
        let shell = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", shell, "sh"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let (to, from) = (process.stdin.take(), process.stdout.take());
        let mut browser = Self {
            process,
            to: to.expect("a pipe"),
            from: from.expect("a pipe"),
            rest: Vec::new(),
            number: 0,
            session: None,
            errors: Vec::new(),
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let of_thread = json!({ "timeDomain": "threadTicks" });
        browser.call("Performance.enable", of_thread);
        Some(browser)
    }

    /// Opens a file, with what its link ends with, and waits until all of it is there.
    pub(crate) fn open(&mut self, file: &Path, fragment: &str) {
        let url = format!("file://{}{fragment}", file.display());
        // The same page again is no new page, unless it was left.
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        self.call("Page.navigate", json!({ "url": url }));
        while self.value("document.readyState + location.protocol") != "completefile:" {}
    }

    /// Gives the page a screen.
    pub(crate) fn screen(&mut self, width: u32, height: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    /// What an expression of the page comes to.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer:#}"
        );
        answer["result"]["value"].clone()
    }

    /// What an expression costs, layout included, in milliseconds of the page's thread: how busy the machine is does not count.
    #[track_caller]
    pub(crate) fn costs(&mut self, expression: &str) -> f64 {
        let before = self.thread_time();
        self.value(&format!("{expression}; document.body.offsetHeight"));
        (self.thread_time() - before) * 1e3
    }

    fn thread_time(&mut self) -> f64 {
        let answer = self.call("Performance.getMetrics", json!({}));
        let metrics = answer["metrics"].as_array().expect("metrics");
        let mut named = metrics
            .iter()
            .filter(|metric| metric["name"] == "TaskDuration");
        let metric = named.next().expect("the time of tasks");
        metric["value"].as_f64().expect("seconds")
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let code = match key {
                "Enter" => 13,
                "Tab" => 9,
                _ => 0,
            };
            let event =
                json!({ "type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    #[track_caller]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({ "id": number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("Chromium listens");
        loop {
            let heard = self.message();
            if heard["id"] == number {
                assert!(heard.get("error").is_none(), "{method}: {heard}");
                return heard["result"].clone();
            }
            match heard["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.errors.push(heard["params"].clone());
                }
                // Whatever asks for something from elsewhere is an error of a page that is whole by itself.
                Some("Network.requestWillBeSent") => {
                    let url = heard["params"]["request"]["url"]
                        .as_str()
                        .unwrap_or_default();
                    if !["file:", "data:", "about:"]
                        .iter()
                        .any(|own| url.starts_with(own))
                    {
                        self.errors.push(heard["params"].clone());
                    }
                }
                Some("Runtime.consoleAPICalled") => self.errors.push(heard["params"].clone()),
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).expect("JSON");
            }
            let mut more = vec![0; 1 << 16];
            let length = self.from.read(&mut more).expect("Chromium answers");
            assert!(length > 0, "Chromium ended by itself");
            self.rest.extend(&more[..length]);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
