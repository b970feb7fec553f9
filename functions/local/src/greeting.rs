//! What is printed when the gateway is up: on standard output, coloured on a terminal, plain in a pipe.

use std::net::SocketAddr;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use secrecy::{ExposeSecret, SecretString};

/// The most model names that are listed.
const LISTED: usize = 8;

/// What there is to tell.
pub(crate) struct Greeting<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) virtual_key: &'a SecretString,
    /// Where the master key is; `None` when it came from the environment or the configuration.
    pub(crate) master_key: Option<&'a Path>,
    pub(crate) models: Vec<&'a str>,
    pub(crate) config: &'a str,
}

impl Greeting<'_> {
    /// Prints it. The virtual key is shown: it is the one that this machine's owner is to use.
    pub(crate) fn print(&self) {
        let bold = Style::new().bold();
        let dim = Style::new().dimmed();
        let green = AnsiColor::Green.on_default().bold();
        let url = format!("http://{}", self.address);
        let key = self.virtual_key.expose_secret();
        anstream::println!(
            "{green}Keyturn{green:#} {} is up at {bold}{url}{bold:#}\n",
            env!("CARGO_PKG_VERSION")
        );
        anstream::println!("  {dim}virtual key{dim:#}    {key}");
        match self.master_key {
            Some(path) => anstream::println!("  {dim}master key{dim:#}     in {}", path.display()),
            None => anstream::println!("  {dim}master key{dim:#}     as configured"),
        }
        anstream::println!("  {dim}models{dim:#}         {}", self.listed());
        anstream::println!("  {dim}configuration{dim:#}  {}\n", self.config);
        if let Some(model) = self.first_model() {
            let model = serde_json::Value::from(model);
            let body = format!(r#"{{"model":{model},"messages":[{{"role":"user","content":"Hello!"}}]}}"#);
            anstream::println!("{dim}Try it:{dim:#}\n");
            anstream::println!(
                "curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'\n"
            );
        }
        anstream::println!("{dim}Ctrl-C stops it when the requests under way are answered.{dim:#}");
    }

    /// `demo`, which needs no account, else the first that is no pattern.
    fn first_model(&self) -> Option<&str> {
        let plain = |name: &&&str| !name.contains(['*', '\'']);
        let demo = self.models.iter().find(|name| **name == "demo");
        demo.or_else(|| self.models.iter().find(plain)).copied()
    }

    fn listed(&self) -> String {
        let mut listed = self.models.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
        if self.models.len() > LISTED {
            listed.push_str(&format!(" and {} more", self.models.len() - LISTED));
        }
        listed
    }
}
