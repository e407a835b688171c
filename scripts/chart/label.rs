//! What is written at an arrow: the type of the message, and the one or two fields that matter; never a secret.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::merge::Chart;

/// No label is longer, in characters.
const LONGEST: usize = 48;

/// What numbers are called: peers by their names, leases by the order in which they appear.
#[derive(Debug, Default)]
pub(crate) struct Names {
    peers: BTreeMap<u64, String>,
    leases: HashMap<u64, usize>,
}

impl Names {
    /// Those of all messages that are drawn.
    pub(crate) fn of(chart: &Chart) -> Self {
        let mut names = Self::default();
        for arrow in &chart.arrows {
            names.learn(&arrow.message);
            if arrow.kind() == "registered" && arrow.to < chart.logged {
                let peer = arrow.message["peer"].as_u64().unwrap_or_default();
                names.peers.insert(peer, chart.lanes[arrow.to].clone());
            }
            if let Some(lease) = arrow.message["lease"].as_u64() {
                let next = names.leases.len() + 1;
                names.leases.entry(lease).or_insert(next);
            }
        }
        names
    }

    fn learn(&mut self, message: &Value) {
        if let (Some(peer), Some(name)) = (message["peer"].as_u64(), message["name"].as_str()) {
            self.peers.insert(peer, name.to_owned());
        }
        match message {
            Value::Array(parts) => parts.iter().for_each(|part| self.learn(part)),
            Value::Object(parts) => parts.values().for_each(|part| self.learn(part)),
            _ => {}
        }
    }

    fn peer(&self, number: &Value) -> String {
        let name = number.as_u64().and_then(|number| self.peers.get(&number));
        name.cloned().unwrap_or_else(|| "a peer".into())
    }

    fn lease(&self, message: &Value) -> String {
        let order = message["lease"].as_u64().and_then(|lease| self.leases.get(&lease));
        order.map_or_else(String::new, |order| format!(" #{order}"))
    }

    /// The label of a message.
    pub(crate) fn label(&self, message: &Value) -> String {
        let Some(kind) = message["type"].as_str() else {
            // The first line of an HTTP head.
            return cut(message.as_str().unwrap_or("HTTP").lines().next().unwrap_or_default());
        };
        let about = self.about(kind, message);
        cut(&if about.is_empty() { kind.to_owned() } else { format!("{kind}{about}") })
    }

    /// What matters in a message of this type, as it follows the type.
    fn about(&self, kind: &str, message: &Value) -> String {
        let field = |name: &str| match &message[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (lease, slots) = (self.lease(message), || counted(&message["slots"], "slot"));
        match kind {
            "register" => format!(": {}, {}", field("name"), slots()),
            "peers" => format!(": {}", self.list(&message["peers"], |_| String::new())),
            "lease" => format!(": {}", slots()),
            "wait" => format!(": place {}, {} free", field("position"), field("free")),
            "bind" => format!("{lease}: {}, {}", slots(), seconds(message)),
            "leased" => {
                let cards = message["slots"].as_array().into_iter().flatten();
                let all: u64 = cards.filter_map(|card| card["slots"].as_u64()).sum();
                format!("{lease}: {}, {}", counted(&all.into(), "slot"), seconds(message))
            }
            "unbind" | "unbound" | "expired" => lease,
            "lost" => format!("{lease}: {}", self.peer(&message["peer"])),
            "blame" => format!(" {}", self.peer(&message["peer"])),
            "multiply" => format!(" {} under{lease}", field("product")),
            "product" | "have" | "request" | "piece" | "wrong" => {
                format!(" {}", field(if kind == "product" { "product" } else { "piece" }))
            }
            "interested" if message["on"] == false => " no more".into(),
            "holders" => {
                let part = |card: &Value| if card["whole"] == true { "" } else { " in part" }.to_owned();
                format!(": {}", self.list(&message["holders"], part))
            }
            "update" if message["whole"] == false => format!(" {}: a part", field("file")),
            "update" | "query" | "fetch" | "drop" | "file" | "join" => format!(" {}", field("file")),
            "error" => format!(": {}", field("code")),
            _ => String::new(),
        }
    }

    /// The names on cards, and what is said of each.
    fn list(&self, cards: &Value, say: impl Fn(&Value) -> String) -> String {
        let cards = cards.as_array().map(Vec::as_slice).unwrap_or_default();
        let names = cards.iter().map(|card| format!("{}{}", self.peer(&card["peer"]), say(card)));
        let names: Vec<String> = names.collect();
        if names.is_empty() { "nobody".into() } else { names.join(", ") }
    }
}

/// For how long a lease runs.
fn seconds(message: &Value) -> String {
    let seconds = message["for_ms"].as_f64().unwrap_or_default() / 1000.0;
    if seconds < 9.95 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

fn counted(number: &Value, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn cut(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_control()).collect();
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}
