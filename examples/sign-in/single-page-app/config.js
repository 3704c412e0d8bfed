// Where the api is, and the app's public name there (an OAuth client of kind `app`).
export const API = "http://127.0.0.1:8000/v1";
export const CLIENT_ID = "";
