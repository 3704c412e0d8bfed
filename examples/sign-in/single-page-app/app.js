// Signs a person in from a browser: authorization code with PKCE, no secret, no library.
// Tokens live in memory; what must survive the redirect lies in sessionStorage until it is used.
import { API, CLIENT_ID } from "./config.js";

const ROOT = new URL("/", API);
const HERE = location.origin + location.pathname;
const element = (id) => document.getElementById(id);
const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

let tokens = null;

async function signIn() {
  const verifier = random();
  const state = random();
  sessionStorage.setItem("sign-in", JSON.stringify({ verifier, state }));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const target = new URL("/oauth/authorize", ROOT);
  target.search = new URLSearchParams({
    response_type: "code",
    client_id: CLIENT_ID,
    redirect_uri: HERE,
    state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(target);
}

// Back from the sign-in page: only an answer to our own question, from our own issuer, counts.
async function comeBack(answer) {
  const asked = JSON.parse(sessionStorage.getItem("sign-in") ?? "{}");
  sessionStorage.removeItem("sign-in");
  history.replaceState(null, "", HERE);
  if (!asked.state || answer.get("state") !== asked.state) throw new Error("not our question");
  const { issuer } = await (await fetch(new URL("/.well-known/oauth-authorization-server", ROOT))).json();
  if (answer.get("iss") !== issuer) throw new Error("not our issuer");
  if (answer.has("error")) throw new Error(answer.get("error"));
  await take({
    grant_type: "authorization_code",
    code: answer.get("code"),
    redirect_uri: HERE,
    code_verifier: asked.verifier,
  });
}

async function take(form) {
  const answer = await fetch(new URL("/oauth/token", ROOT), {
    method: "POST",
    body: new URLSearchParams({ client_id: CLIENT_ID, ...form }),
  });
  const told = await answer.json();
  if (!answer.ok) {
    tokens = null;
    throw new Error(told.error);
  }
  tokens = { ...told, goodUntil: Date.now() + (told.expires_in - 60) * 1000 };
}

// One refresh at a time: two at once would show the same refresh token twice.
let refreshing = null;
async function accessToken() {
  if (Date.now() > tokens.goodUntil) {
    refreshing ??= take({ grant_type: "refresh_token", refresh_token: tokens.refresh_token })
      .finally(() => (refreshing = null));
    await refreshing;
  }
  return tokens.access_token;
}

async function read(path) {
  const answer = await fetch(API + path, {
    headers: { Authorization: `Bearer ${await accessToken()}` },
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

async function signOut() {
  await fetch(new URL("/oauth/revoke", ROOT), {
    method: "POST",
    body: new URLSearchParams({ client_id: CLIENT_ID, token: tokens.refresh_token }),
  });
  tokens = null;
  await show();
}

async function show() {
  element("sign-in").hidden = tokens !== null;
  element("sign-out").hidden = tokens === null;
  element("says").textContent = tokens ? "You are signed in." : "You are not signed in.";
  element("home").textContent = tokens ? JSON.stringify(await read("/me/home"), null, 2) : "";
}

element("sign-in").addEventListener("click", signIn);
element("sign-out").addEventListener("click", signOut);

const answer = new URLSearchParams(location.search);
try {
  if (answer.has("state")) await comeBack(answer);
  await show();
} catch (error) {
  tokens = null;
  await show();
  element("says").textContent = `Signing in did not work: ${error.message}`;
}
