//! What is logged and where, in the words of APISIX's `nginx_config`.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::parser::Parser;
use super::yaml::{At, place, shown};
use crate::logs::{AccessFormat, Escape, LogTarget};

/// What is logged, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// Where the error log goes; `None` is the standard error.
    pub error_log: Option<LogTarget>,
    /// The lowest level of the error log, if the file says one.
    pub error_log_level: Option<LogLevel>,
    /// How the error log looks, if the file says it.
    pub error_log_form: Option<ErrorLogForm>,
    /// The access log; `None` without one.
    pub access: Option<AccessLogConfig>,
    /// Whether a request that names no trace gets the header `traceparent` of one that begins here.
    pub create_traces: bool,
}

/// An access log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessLogConfig {
    /// Where it goes.
    pub target: LogTarget,
    /// How its lines look.
    pub format: AccessFormat,
}

/// Levels by nginx's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// All.
    Debug,
    /// What happens.
    Info,
    /// As `warn`: nothing here is between the two.
    Notice,
    /// What should not happen.
    Warn,
    /// What went wrong.
    Error,
    /// As `error`, and of plugins' lines only those at the level critical.
    Crit,
    /// As `crit`.
    Alert,
    /// As `crit`.
    Emerg,
}

/// How the error log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErrorLogForm {
    /// nginx's.
    Nginx,
    /// An object per line.
    Json,
    /// For people: with colours, and all that is known.
    Human,
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::section::section;
    use super::super::values::Scalar;
    use super::super::yaml::At;
    use super::{ErrorLogForm, LogLevel};

    section! {
        /// What APISIX has for nginx: workers and logs.
        NginxConfig {
            /// How many threads serve, if `workers` is left out; `auto` is one per core.
            worker_processes: At<Scalar>,
            /// Where the error log goes; the standard error if left out.
            error_log: At<String>,
            /// The lowest level of the error log.
            error_log_level: LogLevel,
            /// How the error log looks.
            error_log_format: ErrorLogForm,
            /// The access log.
            http: Http,
            /// Whether a request that names no trace gets the header `traceparent`.
            create_traces: bool,
        } ignored {
            enable_cpu_affinity worker_rlimit_nofile worker_shutdown_timeout max_pending_timers
            max_running_timers event envs meta stream main_configuration_snippet http_configuration_snippet
            http_server_configuration_snippet http_server_location_configuration_snippet
            http_admin_configuration_snippet http_end_configuration_snippet stream_configuration_snippet
        }
    }

    section! {
        /// The access log.
        Http {
            /// Whether there is one.
            enable_access_log: bool,
            /// Where it goes.
            access_log: At<String>,
            /// How its lines look, with variables of nginx.
            access_log_format: At<String>,
            /// What happens to characters that the form has a use for.
            access_log_format_escape: Escape,
        } ignored {
            access_log_buffer keepalive_timeout client_header_timeout client_body_timeout client_max_body_size
            send_timeout underscores_in_headers real_ip_header real_ip_recursive real_ip_from
            proxy_ssl_server_name upstream charset variables_hash_max_size lua_shared_dict custom_lua_shared_dict
        }
    }

    #[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum Escape {
        #[default]
        Default,
        Json,
    }
}

impl Parser<'_> {
    pub(super) fn logs(&mut self, raw: &raw::NginxConfig) -> LogConfig {
        self.warn_ignored("nginx_config", raw.ignored());
        let access = raw.http.as_ref().and_then(|http| {
            self.warn_ignored("nginx_config.http", http.ignored());
            self.access_log(http)
        });
        LogConfig {
            error_log: self.log_target(&raw.error_log, "nginx_config.error_log"),
            error_log_level: raw.error_log_level,
            error_log_form: raw.error_log_format,
            access,
            create_traces: raw.create_traces.unwrap_or_default(),
        }
    }

    fn access_log(&mut self, raw: &raw::Http) -> Option<AccessLogConfig> {
        let target = self.log_target(&raw.access_log, "nginx_config.http.access_log");
        let escape = match raw.access_log_format_escape.unwrap_or_default() {
            raw::Escape::Default => Escape::Default,
            raw::Escape::Json => Escape::Json,
        };
        let format = raw.access_log_format.as_ref().and_then(|raw| {
            let format = AccessFormat::parse(&raw.value, escape);
            self.check(place(raw), "nginx_config.http.access_log_format", format)
        });
        let on = raw.enable_access_log.unwrap_or(raw.access_log.is_some());
        let default_target = || LogTarget::File(self.directory.join("logs/access.log"));
        on.then(|| AccessLogConfig {
            target: target.unwrap_or_else(default_target),
            format: format.unwrap_or_default(),
        })
    }

    fn log_target(&mut self, raw: &Option<At<String>>, key: &str) -> Option<LogTarget> {
        let raw = raw.as_ref()?;
        self.check(place(raw), key, log_target(&raw.value, self.directory))
    }
}

fn log_target(text: &str, directory: &Path) -> Result<LogTarget, String> {
    if text.is_empty() {
        return Err("is empty; leave it out, or name a file".to_owned());
    }
    if let Some((scheme @ ("syslog" | "memory"), _)) = text.split_once(':') {
        return Err(format!("is a `{scheme}:`, which is not written to; name a file, or /dev/stderr"));
    }
    if text.split(' ').count() > 1 {
        return Err(format!("has a blank in it; what follows a path in nginx has keys of its own: {}", shown(text)));
    }
    match LogTarget::new(Path::new(text)) {
        LogTarget::File(path) => Ok(LogTarget::File(directory.join(path))),
        stream => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Result<LogConfig, String> {
        let text = format!("listen: [127.0.0.1:0]\n{text}");
        let config = Config::parse(&text, Path::new("/etc/chassis/chassis.yaml"));
        config.map(|config| config.logs).map_err(|error| error.to_string())
    }

    #[test]
    fn the_words_of_apisix() {
        assert_eq!(config("").unwrap(), LogConfig::default());
        let text = "nginx_config:\n  error_log: logs/error.log\n  error_log_level: warn\n  http:\n    \
                    enable_access_log: true\n    access_log: /dev/stdout\n    access_log_format: \"$status\"\n    \
                    access_log_format_escape: json\n";
        let logs = config(text).unwrap();
        assert_eq!(logs.error_log, Some(LogTarget::File("/etc/chassis/logs/error.log".into())));
        assert_eq!(logs.error_log_level, Some(LogLevel::Warn));
        let access = logs.access.unwrap();
        assert_eq!(access.target, LogTarget::Stdout);
        assert_eq!(access.format, AccessFormat::parse("$status", Escape::Json).unwrap());
        let access = |text| config(&format!("nginx_config: {{ http: {text} }}")).unwrap().access;
        assert_eq!(access("{ enable_access_log: false, access_log: a }"), None);
        let default = access("{ enable_access_log: true }").unwrap();
        assert_eq!(default.target, LogTarget::File("/etc/chassis/logs/access.log".into()));
        assert_eq!(default.format, AccessFormat::default());
        assert!(access("{ access_log: a }").is_some());
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, wanted) in [
            ("error_log: \"\"", "chassis.yaml:2:28: nginx_config.error_log: is empty"),
            ("error_log: \"syslog:server=a\"", "is a `syslog:`"),
            ("error_log: \"a.log warn\"", "has a blank in it"),
            ("error_log_level: loud", "unknown value `loud`; known are debug, info, notice, warn"),
            ("http: { access_log_format: $statsu }", "did you mean `$status`?"),
            ("http: { acces_log: a }", "access_log"),
        ] {
            let error = config(&format!("nginx_config: {{ {text} }}")).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
