//! What the settings of a modem mean to the driver, and what is wrong with them.

use crate::daemon::Daemon;
use rapidsms::backends::BackendError;
use rapidsms::backends::gsm::Rules;
use rapidsms::registry::Registry;
use rapidsms::settings::{self, Surroundings};
use std::path::Path;

fn rules(lines: &str) -> Result<Rules, String> {
    let text = format!(
        "INSTALLED_APPS = []\n[INSTALLED_BACKENDS.Zain]\nENGINE = \"gsm\"\nPORT = \"/dev/ttyUSB0\"\n{lines}\n"
    );
    let surroundings = Surroundings { variable: &|_| None, readable_by_others: false };
    let catalogue = Registry::standard().catalogue();
    let loaded = settings::parse(text.as_bytes(), Path::new("s.toml"), &catalogue, &surroundings);
    let loaded = loaded.map_err(|error| error.to_string())?;
    Rules::of(&loaded.settings.backends[0]).map_err(|error| match error {
        BackendError::Lost(why) => panic!("a setting is no loss: {why}"),
        BackendError::Refused(why) => why,
    })
}

#[test]
fn numbers_are_written_as_the_settings_say() {
    let spelled = |lines: &str, number: &str| {
        let rules = rules(lines).expect("settings");
        rules.numbering.map_or_else(|| number.to_string(), |place| place.normalise(number).into_owned())
    };
    for (lines, number, spelling) in [
        ("", "0712345678", "0712345678"),
        ("national_prefix = \"0\"", "0712345678", "0712345678"),
        ("country_code = \"+254\"", "0712345678", "+254712345678"),
        ("country_code = \"254\"", "712345678", "712345678"),
        ("country_code = \"254\"\nnational_digits = \"9\"", "712345678", "+254712345678"),
        (
            "country_code = \"1\"\nnational_prefix = \"1\"\ninternational_prefix = \"011\"",
            "011254712345678",
            "+254712345678",
        ),
        (
            "country_code = \"45\"\nnational_prefix = \"\"\nnational_digits = \"8-8\"",
            "32123456",
            "+4532123456",
        ),
    ] {
        assert_eq!(spelled(lines, number), spelling, "{lines}");
    }
}

#[test]
fn wrong_settings_say_which_and_why() {
    for (lines, sentence) in [
        ("country_code = \"0254\"", "country_code in the settings: \"0254\" is no code of a country"),
        ("country_code = \"254\"\nnational_prefix = \"00\"", "must differ"),
        ("national_digits = \"9\"", "national_digits in the settings: it says nothing without country_code"),
        ("country_code = \"254\"\nnational_digits = \"nine\"", "write \"9\" or \"8-10\""),
        (
            "country_code = \"254\"\nnational_digits = \"10-8\"",
            "national_digits in the settings: national numbers of 10 to 8",
        ),
        ("allowed_destinations = [\"Kenya\"]", "\"Kenya\" is no prefix of a number"),
        (
            "allowed_destinations = [\"+254\"]\ndenied_destinations = [\"+254\"]",
            "+254 is both allowed and denied",
        ),
    ] {
        let why = rules(lines).expect_err(lines);
        assert!(why.contains(sentence), "{lines}: {why}");
    }
}

/// The counter for programs goes by the settings of the backend that it is asked about, also while its modem is not there.
#[test]
fn parts_are_counted_as_the_backend_cuts_them() {
    let zain = "[INSTALLED_BACKENDS.Zain]\nENGINE = \"gsm\"\nusb = \"1-1\"\nnational_languages = [\"turkish\"]\nmax_csm = 2";
    let daemon =
        Daemon::start(&format!("INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n{zain}\n"));
    let count = |backend: &str, text: String| {
        let body = serde_json::json!({"text": text, "backend": backend});
        daemon.post_json("/api/v1/parts", &body)
    };
    assert_eq!(count("Zain", "ş".repeat(71)).json()["parts"], 1);
    let anywhere = daemon.post_json("/api/v1/parts", &serde_json::json!({"text": "ş".repeat(71)}));
    assert_eq!(anywhere.json()["parts"], 2);
    let too_long = count("Zain", "a".repeat(400));
    assert_eq!(too_long.status, 413);
    assert!(too_long.body.contains("more than 2 parts"), "{}", too_long.body);
    assert_eq!(daemon.stop().code, 0);
}
