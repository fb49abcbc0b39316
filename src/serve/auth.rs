//! Who may do what: every handler names what it needs in its own signature.
//!
//! A caller shows an API key (`Authorization: Bearer ephor_…`) or a client certificate. Nobody else is told
//! anything but that they are not known.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::num::NonZeroU32;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};

use super::app::App;
use super::problem::Problem;
use crate::keys::api::{Caller, Permission};

/// The certificate that a connection's client has shown, as DER.
#[derive(Clone)]
pub struct ClientCertificate(pub Vec<u8>);

/// A permission, as a type that a handler can name.
pub trait Need: 'static {
    /// Which.
    const PERMISSION: Permission;
    /// In words, for who has it not.
    const WORDS: &'static str;
}

macro_rules! need {
    ($($name:ident, $words:literal;)*) => {$(
        #[doc = concat!("[`Permission::", stringify!($name), "`]: ", $words, ".")]
        pub struct $name;

        impl Need for $name {
            const PERMISSION: Permission = Permission::$name;
            const WORDS: &'static str = $words;
        }
    )*};
}

need! {
    Read, "to read needs a key of any role";
    Trade, "to ask about orders and to report needs a key of the role engine or admin";
    Operate, "to act needs a key of the role operator or admin";
    Administer, "to change the rules needs a key of the role admin";
}

/// A caller who may do what `N` says.
pub struct Allowed<N> {
    /// Who.
    pub caller: Caller,
    need: PhantomData<N>,
}

impl<N: Need> FromRequest for Allowed<N> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Whoever asks about an order is to know that it does not go out.
        ready(admitted::<N>(request).map_err(|problem| match N::PERMISSION {
            Permission::Trade => problem.blocking(),
            Permission::Read | Permission::Operate | Permission::Administer => problem,
        }))
    }
}

fn admitted<N: Need>(request: &HttpRequest) -> Result<Allowed<N>, Problem> {
    let app = request.app_data::<web::Data<App>>().ok_or_else(|| Problem::unauthorized("nobody is known here"))?;
    let caller = caller(request, app)?;
    app.within_rate(&caller, NonZeroU32::MIN)?;
    if !caller.role.may(N::PERMISSION) {
        let detail = format!("{}, this one is of the role {}", N::WORDS, caller.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, "ROLE_INSUFFICIENT", detail));
    }
    Ok(Allowed { caller, need: PhantomData })
}

/// Who is calling.
///
/// # Errors
/// 401.
pub fn caller(request: &HttpRequest, app: &App) -> Result<Caller, Problem> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        let text = header.to_str().unwrap_or_default();
        let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
        let known = scheme.eq_ignore_ascii_case("bearer").then(|| app.keys().verify(key.trim())).flatten();
        return known.ok_or_else(|| Problem::unauthorized("this key is not known, or it has been revoked"));
    }
    let certificate = request.conn_data::<ClientCertificate>();
    let known = certificate.and_then(|certificate| app.keys().verify_certificate(&certificate.0));
    known.ok_or_else(|| {
        Problem::unauthorized("show a key: `Authorization: Bearer ephor_…`, or a known client certificate")
    })
}
