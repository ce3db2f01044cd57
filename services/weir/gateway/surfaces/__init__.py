"""Wire forms: each turns one API's requests into `Ask`s and events back into its replies. They decide nothing."""
