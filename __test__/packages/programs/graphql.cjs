const {
  graphql,
  buildSchema,
  parse,
  print,
  validate,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  GraphQLList,
  introspectionFromSchema,
  subscribe,
} = require('graphql');
const schema = buildSchema(
  'type Query { hello(name: String!): String, users(first: Int = 2): [User!]! } type User { id: ID!, friends: [User] } type Subscription { n: Int }',
);
(async () => {
  console.log(
    JSON.stringify(
      await graphql({
        schema,
        source: 'query Q($n: String!) { a: hello(name: $n) users { id friends { id } } }',
        rootValue: {
          hello: ({ name }) => 'hi ' + name,
          users: ({ first }) => Array.from({ length: first }, (_, id) => ({ id, friends: () => [{ id: 'f' + id }] })),
        },
        variableValues: { n: 'N' },
      }),
    ),
  );
  console.log(JSON.stringify(await graphql({ schema, source: '{ hello nope }' })));
  console.log(
    print(parse('{a(b:[1,{c:$d}]){...F}} fragment F on X @inc(if:true){y}')),
    validate(schema, parse('{x}')).map(String),
    introspectionFromSchema(schema).__schema.types.length,
  );
  const it = await subscribe({
    schema,
    document: parse('subscription{n}'),
    rootValue: {
      n: async function* () {
        yield { n: 1 };
        yield { n: 2 };
      },
    },
  });
  for await (const x of it) console.log(JSON.stringify(x));
})();
