//! The binary: hands the command line to [`redirector_ctl::cli`], nothing else.

fn main() {
    print!("{}", redirector_ctl::api::openapi_document());
}
