import { createSSRApp, h, ref, computed, watch, nextTick, reactive } from 'vue';
import { renderToString, renderToNodeStream } from '@vue/server-renderer';
const App = {
  props: ['t'],
  setup(p) {
    const n = ref(1);
    const d = computed(() => n.value * 2);
    n.value = 4;
    return { d };
  },
  template: '<ul :class="{ a: true }"><li v-for="i in 3" :key="i">{{ i }} {{ t }} {{ d }}</li><!-- c --><slot/></ul>',
};
console.log(await renderToString(createSSRApp(App, { t: '<x>' })));
console.log(
  await renderToString(
    createSSRApp({ render: () => h('p', { style: { color: 'red' }, onClick() {} }, ['a', h('b', 'c')]) }),
  ),
);
const st = reactive({ a: { b: 1 } });
const seen = [];
watch(
  () => st.a.b,
  (v, o) => seen.push([v, o]),
);
st.a.b = 2;
await nextTick();
st.a.b = 3;
await nextTick();
console.log(seen);
let out = '';
for await (const c of renderToNodeStream(createSSRApp(App, { t: 1 }))) out += c;
console.log(out.length);
