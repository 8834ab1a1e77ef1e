// Holds the document of rpc.discover against the OpenRPC meta-schema and every schema in it against
// JSON Schema draft-07; and what a daemon sent against the document.
//
//   node check.js MODULES DOCUMENT              the document
//   node check.js MODULES DOCUMENT TRAFFIC…     what slottest/record.py wrote
//   node check.js MODULES --all DOCUMENT TRAFFIC…    that of all tests: also that members which
//                              the document calls optional are there at times and absent at others
//
// MODULES is where package-lock.json was installed.  A line for each thing that is wrong, then one
// that says what was looked at; exit status 1 if anything was wrong.
'use strict';

const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const all = process.argv[3] === '--all';
const modules = process.argv[2];
const [documentFile, ...trafficFiles] = process.argv.slice(all ? 4 : 3);
const load = createRequire(path.resolve(modules, 'package.json'));
const Ajv = load('ajv').default;
const problems = [];
const read = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const doc = read(documentFile);

const wrong = (where, what) => problems.push(`${where}: ${what}`);
const said = (errors) => errors.slice(0, 4).map((e) =>
  `${e.instancePath || '/'} ${e.message} ${JSON.stringify(e.params)}`).join('; ');

// ---- the document against the meta-schemas -----------------------------------------------------

function checkOpenrpc() {
  // The meta-schemas are their own dialect's and not written for a strict validator.
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  const dialect = load('@json-schema-tools/meta-schema');
  const openrpc = load('@open-rpc/meta-schema');
  // Its name is written with and without the slash at its end.
  const plain = (module) => {
    const { $schema, ...schema } = module.$id ? module : module.default;
    return JSON.parse(JSON.stringify(schema)
      .replace(/https:\/\/meta\.json-schema\.tools\/?/g, 'https://meta.json-schema.tools/it'));
  };

  ajv.addSchema(plain(dialect));
  const validate = ajv.compile(plain(openrpc));
  if (!validate(doc))
    wrong('OpenRPC', said(validate.errors));
}

function resolve(ref) {
  return ref.startsWith('#/') ? ref.slice(2).split('/').reduce((at, key) => at && at[key], doc)
    : undefined;
}

function checkRefs(node, where) {
  if (node === null || typeof node !== 'object')
    return;
  if (typeof node.$ref === 'string' && resolve(node.$ref) === undefined)
    wrong(where, `${node.$ref} leads nowhere`);
  for (const [key, value] of Object.entries(node))
    checkRefs(value, `${where}/${key}`);
}

// ---- the schemas in it -------------------------------------------------------------------------

// Of the document the schemas of its components, in a place where they are nothing but schemas.
const moved = (schema) => JSON.parse(JSON.stringify(schema)
  .replaceAll('"#/components/schemas/', '"slot#/definitions/'));

// For answers: what the schema doesn't name must not be there.
function close(schema) {
  if (schema === null || typeof schema !== 'object')
    return schema;
  const closed = Array.isArray(schema) ? [] : {};
  for (const [key, value] of Object.entries(schema))
    closed[key] = close(value);
  if (closed.type === 'object' && closed.properties && closed.additionalProperties === undefined)
    closed.additionalProperties = false;
  return closed;
}

function validator(shape) {
  const ajv = new Ajv({ strict: true, strictRequired: false, allErrors: true });
  const bytes = (text) => Buffer.byteLength(text, 'utf8');

  ajv.addKeyword({ keyword: 'x-maxBytes', type: 'string', schemaType: 'number',
    validate: (max, text) => bytes(text) <= max });
  ajv.addKeyword({ keyword: 'x-maxJsonBytes', schemaType: 'number',
    validate: (max, value) => bytes(JSON.stringify(value)) <= max });
  try {
    ajv.addSchema({ $id: 'slot', definitions: shape(moved(doc.components.schemas)) });
  } catch (error) {
    wrong('components', error.message);
    return () => undefined;
  }
  return (schema, where) => {
    try {
      return ajv.compile(shape(moved(schema)));
    } catch (error) {
      wrong(where, `not a schema: ${error.message}`);
      return undefined;
    }
  };
}

// Each schema of the document, and where it stands.
function* schemas() {
  for (const name of Object.keys(doc.components.schemas))
    yield [name, { $ref: `#/components/schemas/${name}` }];
  for (const m of [...doc.methods, ...doc['x-server-notifications']]) {
    for (const param of m.params)
      yield [`${m.name}.${param.name}`, param.schema];
    if (m.result)
      yield [`${m.name} → result`, m.result.schema];
    if (m['x-stream'])
      yield [`${m.name} → item`, m['x-stream'].item.schema];
  }
  for (const [kind, error] of Object.entries(doc.components.errors))
    yield [kind, error.data.schema];
}

function* defaults(schema) {
  if (schema === null || typeof schema !== 'object')
    return;
  if ('default' in schema && typeof schema.description !== 'object')
    yield schema;
  for (const value of Object.values(schema))
    yield* defaults(value);
}

function checkSchemas() {
  const compile = validator((schema) => schema);
  let count = 0;

  for (const [where, schema] of schemas()) {
    count++;
    compile(schema, where);
    for (const one of defaults(schema)) {
      const validate = compile(one, where);
      if (validate && !validate(one.default))
        wrong(where, `its default ${JSON.stringify(one.default)}: ${said(validate.errors)}`);
    }
  }
  return count;
}

function checkWords() {
  const names = new Set();

  for (const m of doc.methods) {
    if (!m.summary || m.params.some((p) => !p.summary || !p.schema.description))
      wrong(m.name, 'something in it is not described');
    if (names.has(m.name))
      wrong(m.name, 'stands there twice');
    names.add(m.name);
    if (Boolean(m.result) === Boolean(m['x-notification']))
      wrong(m.name, 'a method has a result, a notification has none');
  }
  for (const [kind, error] of Object.entries(doc.components.errors)) {
    if (!error.message || error.data.kind !== kind || !error.data.help)
      wrong(kind, 'not described');
  }
}

// ---- what a daemon sent against the document ---------------------------------------------------

class Traffic {
  constructor() {
    this.compile = validator(close);
    this.compiled = new Map();
    this.members = new Map();
    this.methods = new Map(doc.methods.map((m) => [m.name, m]));
    this.notices = new Map(doc['x-server-notifications'].map((m) => [m.name, m]));
    this.seen = { answers: 0, methods: new Set(), kinds: new Set() };
  }

  // Which members of objects were there, and how often there was such an object.
  note(where, schema, value) {
    const node = schema.$ref ? resolve(schema.$ref) : schema;
    const name = schema.$ref || where;

    if (node.anyOf)
      node.anyOf.forEach((one) => this.note(where, one, value));
    if (node.type === 'array' && Array.isArray(value))
      value.forEach((one) => this.note(`${where}[]`, node.items, one));
    if (!node.properties || value === null || typeof value !== 'object' || Array.isArray(value))
      return;
    if (!this.members.has(name))
      this.members.set(name, { node, objects: 0, seen: {} });
    const counted = this.members.get(name);
    counted.objects++;
    for (const [key, member] of Object.entries(value)) {
      counted.seen[key] = (counted.seen[key] || 0) + 1;
      if (node.properties[key])
        this.note(`${where}.${key}`, node.properties[key], member);
    }
  }

  // An optional member that is always there is none, nor is one that never is.
  checkMembers() {
    for (const [name, { node, objects, seen }] of this.members) {
      for (const key of Object.keys(node.properties)) {
        if ((node.required || []).includes(key))
          continue;
        if (!seen[key])
          wrong(name, `${key} was in none of ${objects}`);
        else if (seen[key] === objects)
          wrong(name, `${key} is optional and was in all of ${objects}`);
      }
    }
  }

  check(where, schema, value) {
    if (!this.compiled.has(where))
      this.compiled.set(where, this.compile(schema, where));
    const validate = this.compiled.get(where);
    if (all)
      this.note(where, schema, value);
    if (validate && !validate(value))
      wrong(where, `${said(validate.errors)} in ${JSON.stringify(value).slice(0, 600)}`);
  }

  error(name, error) {
    const kind = error.data && error.data.kind;
    const known = doc.components.errors[kind];
    const method = this.methods.get(name);
    const refs = [...(method ? method.errors : []), ...doc['x-general-errors']];

    if (!known || known.code !== error.code)
      return wrong(`${name}`, `error ${error.code} of kind ${kind}`);
    this.seen.kinds.add(kind);
    this.check(kind, known.data.schema, error.data);
    // Without a method there was none that could be read, or no room for the connection.
    if (!refs.some((e) => resolve(e.$ref) === known) && !(!method && kind === 'LimitExceeded'))
      wrong(`${name}`, `its errors do not name ${kind}`);
    return undefined;
  }

  notice(name, method, params) {
    const stream = method['x-stream'];
    const notice = this.notices.get(name);

    if (!stream || !notice || (name === '$/gap' && !stream.gap) ||
        (name === '$/credit' && !stream.credit))
      return wrong(method.name, `sends ${name}`);
    const own = {};
    const rest = { ...params };
    for (const param of notice.params) {
      own[param.name] = params[param.name];
      delete rest[param.name];
    }
    for (const param of notice.params)
      this.check(`${name}.${param.name}`, param.schema, own[param.name]);
    if (name === '$/item')
      return this.check(`${method.name} → item`, stream.item.schema, rest);
    if (Object.keys(rest).length > 0)
      wrong(name, `has ${Object.keys(rest)} besides`);
    return undefined;
  }

  line(entry) {
    const method = this.methods.get(entry.method);

    this.seen.answers++;
    if (entry.error)
      return this.error(entry.method, entry.error);
    if (!method)
      return wrong(entry.method, 'answers, and is not in the document');
    this.seen.methods.add(method.name);
    if (entry.notice)
      return this.notice(entry.notice, method, entry.params);
    return this.check(`${method.name} → result`, method.result.schema, entry.result);
  }
}

function checkTraffic() {
  const traffic = new Traffic();

  for (const file of trafficFiles) {
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) {
      if (line)
        traffic.line(JSON.parse(line));
    }
  }
  if (all)
    traffic.checkMembers();
  const { answers, methods, kinds } = traffic.seen;
  const unseen = (all, seen) => all.filter((name) => !seen.has(name)).join(' ') || 'none';
  return `${answers} answers; not among them: ` +
    `${unseen(doc.methods.filter((m) => m.result).map((m) => m.name), methods)}; errors: ` +
    `${unseen(Object.keys(doc.components.errors), kinds)}`;
}

// ---- all of it ---------------------------------------------------------------------------------

let looked;
if (trafficFiles.length > 0) {
  looked = checkTraffic();
} else {
  checkOpenrpc();
  checkRefs(doc, '#');
  checkWords();
  looked = `${doc.methods.length} methods, ${checkSchemas()} schemas`;
}
for (const problem of [...new Set(problems)].slice(0, 60))
  console.log(problem);
console.log(looked);
process.exitCode = problems.length > 0 ? 1 : 0;
