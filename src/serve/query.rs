//! The parameters of a request's query, each checked: one that is unknown, given twice or wrong is refused by name.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::{HttpRequest, web};

use super::problem::Problem;

/// A request's parameters, to be taken one by one.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a request, which may have only these names, and each of them once.
    ///
    /// # Errors
    /// 422.
    pub fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let read = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = read.map_err(|error| Problem::parameter("query", error.to_string()))?.into_inner();
        for (place, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let some = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::parameter(name, format!("there is no such parameter here: there is {some}")));
            }
            if pairs.iter().take(place).any(|(before, _)| before == name) {
                return Err(Problem::parameter(name, "given more than once"));
            }
        }
        Ok(Self(pairs))
    }

    /// The text of one, where it is given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// One as what it stands for, where it is given.
    ///
    /// # Errors
    /// 422.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| text.parse().map_err(|error| Problem::parameter(name, format!("{error}: {text:?}")));
        self.text(name).map(read).transpose()
    }

    /// A place in the log, where it is given.
    ///
    /// # Errors
    /// 422.
    pub fn seq(&self, name: &str) -> Result<Option<u64>, Problem> {
        // As the description has it, which knows signed numbers only.
        match self.get::<i64>(name)?.map(u64::try_from) {
            None => Ok(None),
            Some(Ok(seq)) if seq > 0 => Ok(Some(seq)),
            Some(_) => Err(Problem::parameter(name, "must be 1 or more")),
        }
    }

    /// A number within bounds, or its default.
    ///
    /// # Errors
    /// 422.
    pub fn within(&self, name: &str, default: usize, max: usize) -> Result<usize, Problem> {
        match self.get(name)? {
            None => Ok(default),
            Some(number) if (1..=max).contains(&number) => Ok(number),
            Some(number) => Err(Problem::parameter(name, format!("must be from 1 to {max}, found {number}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn of(query: &str) -> Result<Parameters, Problem> {
        Parameters::of(&TestRequest::with_uri(&format!("/?{query}")).to_http_request(), &["from", "limit"])
    }

    #[track_caller]
    fn refused<T>(result: Result<T, Problem>, field: &str) {
        let problem = result.err().expect("it is refused");
        assert_eq!((problem.code(), problem.field()), ("PARAMETER_INVALID", Some(field)), "{problem}");
    }

    #[test]
    fn a_parameter_is_known_given_once_and_of_its_kind() {
        let parameters = of("from=7&limit=%31%30").unwrap();
        assert_eq!(parameters.seq("from").unwrap(), Some(7));
        assert_eq!(parameters.within("limit", 100, 1_000).unwrap(), 10);
        assert_eq!(of("").unwrap().within("limit", 100, 1_000).unwrap(), 100);
        refused(of("form=7"), "form");
        refused(of("from=7&from=7"), "from");
        for wrong in ["", "-1", "0", "1.5", "9223372036854775808", "x"] {
            refused(of(&format!("from={wrong}")).unwrap().seq("from"), "from");
        }
        for wrong in ["0", "1001", "x"] {
            refused(of(&format!("limit={wrong}")).unwrap().within("limit", 100, 1_000), "limit");
        }
    }
}
