// Nodemailer as a mail program: submission.js MX STARTTLS IMPLICIT (three ports of 127.0.0.1).
"use strict";

const assert = require("node:assert");
const nodemailer = require("nodemailer");

const [mx, starttls, implicit] = process.argv.slice(2).map(Number);
const auth = { user: "ann@basin.example", pass: "swordfish" };
const common = { host: "127.0.0.1", name: "client.example", tls: { servername: "mx.basin.example" }, connectionTimeout: 30000 };

const overStarttls = (more) => nodemailer.createTransport({ ...common, port: starttls, requireTLS: true, ...more });
const overTls = (more) => nodemailer.createTransport({ ...common, port: implicit, secure: true, ...more });
const mail = (subject, more) => ({ from: auth.user, to: "nodemailer@basin.example", subject, text: "Hello.\n", ...more });

async function send(transport, message) {
  const info = await transport.sendMail(message);
  assert.match(info.response, /^250 /);
  return info;
}

async function refused(code, transport, message) {
  const error = await transport.sendMail(message).then(() => null, (error) => error);
  assert.ok(error, `${message.subject} is taken`);
  assert.strictEqual(error.responseCode, code, error.message);
}

async function logins() {
  for (const method of ["PLAIN", "LOGIN"]) {
    await send(overStarttls({ auth, authMethod: method }), mail(`nodemailer-starttls-${method}`));
    await send(overTls({ auth, authMethod: method }), mail(`nodemailer-implicit-${method}`));
  }
  const token = { type: "OAuth2", user: auth.user, accessToken: "t0ken" };
  await send(overTls({ auth: token }), mail("nodemailer-XOAUTH2"));
  await refused(535, overTls({ auth: { ...token, accessToken: "guess" } }), mail("nodemailer-guess"));
  await refused(535, overStarttls({ auth: { ...auth, pass: "wrong" } }), mail("nodemailer-wrong"));
  await refused(530, overStarttls({}), mail("nodemailer-nobody"));
}

async function messages() {
  const transport = overTls({ auth });
  await send(transport, mail("nodemailer-attachment", { attachments: [{ filename: "notes.bin", content: Buffer.alloc(300000, 7) }] }));
  await send(transport, mail("nodemailer-utf8", { envelope: { from: "gr\u00fc\u00dfe@basin.example", to: "nodemailer@basin.example" } }));
  await send(transport, mail("nodemailer-dsn", { dsn: { id: "id-1", return: "headers", notify: ["failure", "delay"], recipient: "ann@basin.example" } }));
  const info = await send(transport, mail("nodemailer-two", { to: ["nodemailer@basin.example", "nobody@basin.example"] }));
  assert.deepStrictEqual(info.rejected, ["nobody@basin.example"]);
  await refused(550, nodemailer.createTransport({ ...common, port: mx }), mail("nodemailer-relay", { from: "sender@client.example", to: "friend@away.example" }));
}

async function pool() {
  const transport = overStarttls({ auth, pool: true, maxConnections: 4, maxMessages: 10 });
  await Promise.all(Array.from({ length: 60 }, (_, number) => send(transport, mail(`nodemailer-pool-${number}`))));
  transport.close();
}

(async () => {
  for (const part of [logins, messages, pool]) {
    await part();
    console.log(part.name, "ok");
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
