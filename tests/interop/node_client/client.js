// Every call of node-zookeeper-client that reaches a server, with what it gives; the argument is the server's address.
'use strict';

const zookeeper = require('node-zookeeper-client');

const { ACL, CreateMode, Id, Permission } = zookeeper;
const ANYBODY = new Id('world', 'anyone');
const EXIT_LATE = 2;
const LIMIT_MS = 60000;

const events = [];
let wake = null;

function onEvent(event) {
    events.push(`${event.getName()} ${event.getPath()}`);
    if (wake) wake();
}

async function showEvents(count) {
    while (events.length < count) await new Promise((resolve) => { wake = resolve; });
    for (const line of events.splice(0, count)) console.log(`  event ${line}`);
}

function number(buffer) {
    return BigInt.asUintN(64, BigInt(`0x${buffer.toString('hex')}`)).toString(16);
}

function text(value) {
    if (value === undefined) return '';
    if (value === null) return ' nothing';
    if (typeof value === 'string') return ` ${value}`;
    if (Buffer.isBuffer(value)) return ` '${value}'`;
    if (Array.isArray(value)) {
        const shown = value.map((it) => text(it).trim());
        if (typeof value[0] === 'string') shown.sort(); // children come in no order that means anything
        return ` {${shown.join(', ')}}`;
    }
    if (value.czxid) {
        const zxids = ['czxid', 'mzxid', 'pzxid'].map((name) => `${name}=0x${number(value[name])}`);
        const counts = ['version', 'cversion', 'aversion', 'dataLength', 'numChildren'];
        return ` [${zxids.join(' ')} ${counts.map((name) => `${name}=${value[name]}`).join(' ')}]`;
    }
    if (value.id) return ` ${value.id.scheme}:${value.id.id}:${value.permission ?? value.perms}`;
    return ` type=${value.type} err=${value.err ?? 0}${text(value.path)}${text(value.stat)}`;
}

// Calls a method of `target` with `args` and shows what its callback is given.
function call(target, method, ...args) {
    return new Promise((resolve) => {
        target[method](...args, (error, ...results) => {
            console.log(error ? `${method}: ${error.name ?? error}` : `${method}:${results.map(text).join('')}`);
            resolve();
        });
    });
}

function connected(hosts) {
    const client = zookeeper.createClient(hosts, { sessionTimeout: 10000, retries: 0 });
    return new Promise((resolve) => {
        client.once('connected', () => resolve(client));
        client.connect();
    });
}

function closed(client) {
    return new Promise((resolve) => {
        client.once('disconnected', resolve);
        client.close();
    });
}

async function nodes(client) {
    await call(client, 'create', '/n', Buffer.from('top'));
    await call(client, 'create', '/n', Buffer.from('again'));
    await call(client, 'create', '/missing/child');
    await call(client, 'create', '/n/null');
    await call(client, 'create', '/n/eph', Buffer.from('e'), CreateMode.EPHEMERAL);
    await call(client, 'create', '/n/eph/child');
    await call(client, 'create', '/n/seq-', CreateMode.PERSISTENT_SEQUENTIAL);
    await call(client, 'create', '/n/ephseq-', CreateMode.EPHEMERAL_SEQUENTIAL);
    await call(client, 'create', '/n/ünï', Buffer.from('grün'));
    await call(client, 'mkdirp', '/n/a/b/c', Buffer.from('deep'));
    await call(client, 'getData', '/n');
    await call(client, 'getData', '/n/null');
    await call(client, 'getData', '/n/ünï');
    await call(client, 'getData', '/n/missing');
    await call(client, 'exists', '/n/a');
    await call(client, 'exists', '/n/missing');
    await call(client, 'setData', '/n', Buffer.from('new'), 0);
    await call(client, 'setData', '/n', Buffer.from('stale'), 7);
    await call(client, 'setData', '/n', Buffer.alloc(0), -1);
    await call(client, 'getChildren', '/n');
    await call(client, 'getChildren', '/n/missing');
    await call(client, 'listSubTreeBFS', '/n/a');
    await call(client, 'remove', '/n/a');
    await call(client, 'removeRecursive', '/n/a');
    await call(client, 'remove', '/n/null', 7);
    await call(client, 'remove', '/n/null');
}

async function accessControl(client) {
    await call(client, 'getACL', '/n');
    client.addAuthInfo('digest', Buffer.from('ann:secret'));
    await call(client, 'create', '/n/own', Buffer.from('x'), ACL.CREATOR_ALL_ACL);
    await call(client, 'getACL', '/n/own');
    await call(client, 'setACL', '/n/own', [new ACL(Permission.READ | Permission.ADMIN, ANYBODY)], 0);
    await call(client, 'setACL', '/n/own', [new ACL(Permission.READ, ANYBODY)], 0);
    await call(client, 'setACL', '/n/own', [new ACL(Permission.ALL, new Id('nobody', 'knows'))], -1);
    await call(client, 'setData', '/n/own', Buffer.from('y'));
    await call(client, 'getACL', '/n/own');
}

async function watches(client) {
    await call(client, 'exists', '/n/w', onEvent);
    await call(client, 'create', '/n/w', Buffer.from('1'));
    await showEvents(1);
    await call(client, 'getData', '/n/w', onEvent);
    await call(client, 'setData', '/n/w', Buffer.from('2'));
    await showEvents(1);
    await call(client, 'setData', '/n/w', Buffer.from('3'));
    await call(client, 'getChildren', '/n/w', onEvent);
    await call(client, 'create', '/n/w/child');
    await showEvents(1);
    await call(client, 'getData', '/n/w/child', onEvent);
    await call(client, 'remove', '/n/w/child');
    await showEvents(1);
}

async function transactions(client) {
    const made = client.transaction();
    made.create('/n/t', Buffer.from('t')).create('/n/t/s-', null, CreateMode.PERSISTENT_SEQUENTIAL);
    made.check('/n/t', 0).setData('/n/t', Buffer.from('u'), 0).remove('/n/t/s-0000000000');
    await call(made, 'commit');
    const refused = client.transaction();
    refused.create('/n/t/new').check('/n/t', 7).remove('/n/t');
    await call(refused, 'commit');
    await call(client, 'exists', '/n/t/new');
}

async function sessions(hosts, client) {
    console.log(`state ${client.getState().getName()}, timeout ${client.getSessionTimeout()}`);
    await closed(client);
    const next = await connected(hosts);
    await call(next, 'exists', '/n/eph');
    await call(next, 'exists', '/n/w');
    await closed(next);
}

async function main(hosts) {
    const client = await connected(hosts);
    for (const part of [nodes, accessControl, watches, transactions]) {
        console.log(`== ${part.name}`);
        await part(client);
    }
    console.log('== sessions');
    await sessions(hosts, client);
}

setTimeout(() => process.exit(EXIT_LATE), LIMIT_MS).unref();
main(process.argv[2]).then(() => process.exit(0));
